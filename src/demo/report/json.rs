//! The report as one JSON object, for programs.

use crate::demo::report::{Report, tier_name};
use crate::demo::shoppers::counts::{Counts, HitRatios};
use crate::demo::traffic::Measured;
use serde_json::{Value, json};
use std::time::Duration;

impl Report {
    /// One object: the figures that tests read, and some more.
    pub fn to_json(&self) -> Value {
        let Measured { changes, wrote_for, caught_up_in, tally, latencies, .. } = &self.measured;
        let (total, second_half) = (tally.total(), tally.second_half());
        let (refreshed, dropped) = self.refreshed_and_dropped();
        let [l2, l1, edge] = ["l2", "l1", "l3"].map(|tier| self.findings.of_tier(tier));
        let listed: Vec<Value> = self
            .listed()
            .iter()
            .map(|wrong| json!({"tier": tier_name(wrong), "key": wrong.key, "what": wrong.what(), "low": wrong.low}))
            .collect();
        json!({
            "changes": changes,
            "entries_compared": {"l2": l2.compared(), "l1": l1.compared(), "edge": edge.compared()},
            "entries_dead": {"l2": l2.dead, "l1": l1.dead},
            "stale_entries": self.findings.wrong(),
            "stale": {"l2": l2.wrong(), "l1": l1.wrong(), "edge": edge.wrong(), "listed": listed},
            "planted": self.planted.len(),
            "refreshed": refreshed,
            "dropped": dropped,
            "reads": total.reads,
            "reads_failed": total.failed,
            "reads_from_database": total.database,
            "hit_ratio": hit_ratio(&total),
            "second_half": {
                "reads": second_half.reads,
                "reads_from_database": second_half.database,
                "hit_ratio": hit_ratio(&second_half),
            },
            "backwards": tally.backwards(),
            "commit_to_ms": {"l2": latencies.l2.to_json(), "l1": latencies.l1.to_json(), "edge": latencies.edge.to_json()},
            "wrote_for_s": rounded(wrote_for),
            "caught_up_s": rounded(caught_up_in),
            "set_up_s": rounded(&self.set_up),
        })
    }
}

fn hit_ratio(counts: &Counts) -> Value {
    let HitRatios { edge, l1, l2 } = counts.hit_ratios();
    let rounded = |ratio: Option<f64>| ratio.map(|ratio| (ratio * 10_000.0).round() / 10_000.0);
    json!({"l1": rounded(l1), "l2": rounded(l2), "edge": rounded(edge)})
}

fn rounded(time: &Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
