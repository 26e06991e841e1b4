//! Pages of the hottest, asked for through the edge so that it has them.

use std::sync::Arc;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_tiers::Edge;

/// The pages of the hot view's group.
pub(crate) struct Pages {
    edge: Edge,
    view: Arc<View>,
    pub count: usize,
}

impl Pages {
    /// `None` where the policy wants none, or no edge is configured, or no page can be made of a product alone.
    pub fn of(config: &Config, policy: &Policy, hot: &View) -> Result<Option<Pages>, Failure> {
        let count = policy.warming.edge_pages;
        let view = policy.views_of(&hot.group).find(|view| view.tier == TierName::L3 && view.key.is_plain());
        let (Some(view), Ok(edge)) = (view.filter(|_| count > 0), config.edge()) else { return Ok(None) };
        Ok(Some(Pages { edge: Edge::new(edge)?, view: Arc::clone(view), count }))
    }

    /// Asks for one; whether it came.
    pub async fn ask(&self, product: &str) -> bool {
        let asked = self.edge.warm(self.view.key.key(&escaped(product)).as_str()).await;
        asked.inspect_err(|error| tracing::debug!(%error, "a page was not warmed; a reader will")).unwrap_or(false)
    }
}

/// A product as a segment of a path.
fn escaped(product: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    product.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_one_segment() {
        for (product, expected) in [("85123A", "85123A"), ("a/b c?", "a%2Fb%20c%3F"), ("é", "%C3%A9")] {
            assert_eq!(escaped(product), expected);
        }
    }
}
