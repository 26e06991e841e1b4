//! View events on the wire: which product somebody read, and nothing of who did. JSON, so that whoever serves pages can
//! write them (docs/envelope.md, "Topics").

use serde::{Deserialize, Serialize};

/// No product's id is longer, in bytes.
const PRODUCT_BYTES_MAX: usize = 256;
/// One event stands for at most so many.
const WEIGHT_MAX: u32 = 10_000;

/// A product was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewEvent {
    /// Its entity key.
    pub product: String,
    /// When, microseconds since 1970.
    pub at: i64,
    /// How many reads this event stands for.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl ViewEvent {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's value; `None` where it is no event, or one that can't be.
    pub fn from_json(value: &[u8]) -> Option<ViewEvent> {
        let event: ViewEvent = serde_json::from_slice(value).ok()?;
        let is_good = !event.product.is_empty()
            && event.product.len() <= PRODUCT_BYTES_MAX
            && event.at > 0
            && (1..=WEIGHT_MAX).contains(&event.weight);
        is_good.then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_checked_where_they_come_in() {
        let event = ViewEvent { product: "85123A".to_owned(), at: 7, weight: 10 };
        assert_eq!(ViewEvent::from_json(&event.to_json()), Some(event.clone()));
        let read = |text: &str| ViewEvent::from_json(text.as_bytes());
        assert_eq!(read(r#"{"product":"85123A","at":7}"#), Some(ViewEvent { weight: 1, ..event }));
        for bad in [
            "",
            "7",
            r#"{"product":"","at":7}"#,
            r#"{"product":"a"}"#,
            r#"{"product":"a","at":-7}"#,
            r#"{"product":"a","at":7,"weight":0}"#,
            r#"{"product":"a","at":7,"weight":4000000000}"#,
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
