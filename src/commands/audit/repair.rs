//! Wrong copies dropped, each with all that was made of its entity, and the proof of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indicatif::ProgressBar;
use lockstep_audit::Violation;
use lockstep_audit::repair::Repair;
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::Policy;
use lockstep_source::{Database, signals};
use serde::Serialize;

use crate::commands::applied::{away, position_before};
use crate::commands::purge::{Subjects, proven};

/// What was repaired.
#[derive(Debug, Default, Serialize)]
pub(super) struct Repaired {
    /// Entities whose copies were dropped.
    entities: usize,
    /// Wrong copies that no invalidation names, or that were not listed: they stay as they are.
    left: u64,
    /// How each tier is known to have nothing of them.
    tiers: BTreeMap<&'static str, String>,
}

/// Asks for each repair, so many a second, then waits for every tier.
pub(super) async fn repair(
    config: &Config,
    policy: &Policy,
    violations: &[Violation],
    wrong: u64,
    timeout: Duration,
    bar: &ProgressBar,
) -> Result<Repaired, Failure> {
    let of = |violation: &Violation| Repair::of(policy, violation);
    let repairs: BTreeSet<Repair> = violations.iter().filter_map(of).collect();
    let named = violations.iter().filter(|violation| of(violation).is_some()).count() as u64;
    let mut repaired = Repaired { entities: repairs.len(), left: wrong.saturating_sub(named), tiers: BTreeMap::new() };
    if repairs.is_empty() {
        return Ok(repaired);
    }
    let database = Database::connect(config.database()?, "lockstep-audit-repair").await?;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / f64::from(config.audit.repairs_per_second)));
    bar.reset();
    bar.set_message("asking for repairs");
    bar.set_length(repairs.len() as u64);
    let (mut subjects, mut last) = (Subjects::new(), None);
    for repair in repairs {
        ticks.tick().await;
        last = Some(signals::send_all(&database, &[repair.signal()]).await.map_err(away)?);
        subjects.entry(repair.group).or_default().insert(repair.subject);
        bar.inc(1);
    }
    if let Some(lsn) = last {
        bar.set_message("waiting for every tier");
        let wanted = position_before(&database, lsn).await?;
        let proofs = proven(config, policy, subjects, wanted, timeout).await?;
        repaired.tiers = proofs.into_iter().map(|proof| (proof.tier.as_str(), proof.how)).collect();
    }
    Ok(repaired)
}

impl Repaired {
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} entities dropped from every tier", self.entities)];
        lines.extend(self.tiers.iter().map(|(tier, how)| format!("{tier}: {how}")));
        if self.left > 0 {
            lines.push(format!("{} wrong copies are left: not listed, or no invalidation names them", self.left));
        }
        lines
    }
}
