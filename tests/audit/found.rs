//! What an audit told.

use std::time::Duration;

use serde_json::Value;

use crate::harness::Lockstep;

/// Where watermarks are late, each look waits for them for some seconds.
const AUDIT_LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct Found {
    pub code: Option<i32>,
    pub text: String,
    report: Value,
}

/// Runs `lockstep audit --full --once`.
pub fn audit(lockstep: &Lockstep) -> Found {
    let ended = lockstep.start(&["audit", "--full", "--once", "-o", "json"]).wait(AUDIT_LIMIT);
    let report = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
    Found { code: ended.code, text: format!("{}{}", ended.stdout, ended.stderr), report }
}

impl Found {
    /// Tier and key of each wrong copy.
    pub fn violations(&self) -> impl Iterator<Item = (&str, String)> {
        let all = self.report["violations"].as_array().expect("violations").iter();
        all.map(|one| (one["tier"].as_str().expect("a tier"), one["key"].as_str().expect("a key").to_owned()))
    }

    fn views(&self, of: impl Fn(&Value) -> bool) -> u64 {
        let counts = ["same", "in_flight", "stale", "missing", "orphan", "unknown"];
        let views = self.report["views"].as_array().expect("views").iter().filter(|view| of(view));
        views.flat_map(|view| counts.map(|name| view[name].as_u64().expect("a count"))).sum()
    }

    pub fn compared(&self, tier: &str) -> u64 {
        self.views(|view| view["tier"] == tier && view["replicas"] == false)
    }

    pub fn compared_on_replicas(&self, tier: &str) -> u64 {
        self.views(|view| view["tier"] == tier && view["replicas"] == true)
    }

    /// One count, over all tiers and views.
    pub fn sum(&self, name: &str) -> u64 {
        let views = self.report["views"].as_array().expect("views").iter();
        views.map(|view| view[name].as_u64().expect("a count")).sum()
    }
}
