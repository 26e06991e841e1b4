//! The tiers as any client has them: plain reads in one MULTI, and entries that vanish as by eviction.

use std::collections::HashMap;

use lockstep_schemas::position::Position;
use lockstep_tiers::{Place, Tier};
use redis::aio::MultiplexedConnection;

use crate::compare::{self, Fields};

/// One group's slot of a tier, on the node that has it.
#[derive(Clone)]
pub struct Slot {
    node: MultiplexedConnection,
    watermark: String,
    /// What stands before an entry's key.
    head: String,
}

/// What a plain reader finds under a key, all at one moment.
pub struct Found {
    /// `None`: nothing that lives. `Some(None)`: an absence.
    pub entry: Option<Option<Fields>>,
    pub position: Option<Position>,
    /// How far the edge has been purged.
    pub purged: Option<Position>,
    pub has_marker: bool,
}

impl Slot {
    /// Finds the node of a group's partition 0.
    pub async fn find(tier: &Tier, nodes: &[String], group: &str) -> Self {
        let watermark = tier.layout().watermark(&Place { group: group.into(), partition: 0 });
        let tagged = nodes.len() > 1;
        let head = if tagged { watermark.trim_end_matches("_w").to_owned() } else { String::new() };
        for url in nodes {
            let mut node = compare::connect(url).await;
            let asked: Result<bool, _> = redis::cmd("EXISTS").arg(&watermark).query_async(&mut node).await;
            if asked.is_ok() {
                return Slot { node, watermark, head };
            }
        }
        panic!("no node has {watermark}")
    }

    /// An entry as a client sees it that respects the floor.
    pub async fn look(&mut self, key: &str) -> Found {
        let entry = format!("{}{key}", self.head);
        let mut look = redis::pipe();
        look.atomic().cmd("HGETALL").arg(&self.watermark).cmd("HGETALL").arg(&entry);
        look.cmd("EXISTS").arg(format!("{entry}:_lease"));
        let looked: (HashMap<String, String>, Fields, bool) = look.query_async(&mut self.node).await.expect("a look");
        let (mark, fields, has_marker) = looked;
        let position = |name: &str| mark.get(name).and_then(|text| text.parse().ok());
        let floor = mark.get("floor").map(String::as_str).unwrap_or_default();
        let low = fields.get("_low").map(String::as_str);
        // What bears no low is no entry of ours; it is looked at all the same.
        let lives = !fields.is_empty() && low.is_none_or(|low| low >= floor);
        let entry = lives.then(|| (!fields.contains_key("_neg")).then(|| compare::columns_of(&fields)));
        Found { entry, position: position("pos"), purged: position("l3"), has_marker }
    }

    /// Takes an entry or a marker away, as eviction and expiry do.
    pub async fn evict(&mut self, key: &str) {
        let gone = redis::cmd("UNLINK").arg(format!("{}{key}", self.head)).query_async(&mut self.node).await;
        let () = gone.expect("an eviction");
    }
}
