//! Pages of the hottest, asked for through the edge so that it has them.

use std::sync::Arc;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_tiers::{Edge, edge};

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
        let asked = self.edge.warm(&edge::path(&self.view, product)).await;
        asked.inspect_err(|error| tracing::debug!(%error, "a page was not warmed; a reader will")).unwrap_or(false)
    }
}
