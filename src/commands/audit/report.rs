//! What an audit tells, to people and to scripts.

use lockstep_audit::findings::Counts;
use lockstep_audit::touched::Touch;
use lockstep_audit::{Findings, Violation};
use serde::Serialize;

use super::repair::Repaired;

#[derive(Serialize)]
pub(super) struct Report {
    compared: u64,
    wrong: u64,
    views: Vec<OfView>,
    /// Why copies could not be judged.
    unknown: Vec<Unknown>,
    /// What could not be looked at.
    failed: Vec<String>,
    violations: Vec<Evidence>,
    /// Where repairs were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Repaired>,
}

#[derive(Serialize)]
struct OfView {
    tier: &'static str,
    /// Whether these are the copies on the tier's replicas.
    replicas: bool,
    view: String,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Serialize)]
struct Unknown {
    tier: &'static str,
    why: &'static str,
    copies: u64,
}

#[derive(Serialize)]
pub(super) struct Evidence {
    #[serde(flatten)]
    pub violation: Violation,
    /// The newest change of the entity in the log; `null`: none among the newest records, or not looked for.
    pub touched: Option<Touch>,
}

impl Report {
    pub fn new(findings: &Findings, violations: Vec<Evidence>, repaired: Option<Repaired>) -> Self {
        let views = findings.counts.iter().map(|((tier, replicas, view), counts)| OfView {
            tier,
            replicas: *replicas,
            view: view.clone(),
            counts: *counts,
        });
        let compared = findings.counts.values().map(Counts::compared).sum();
        let unknown = findings.unknown.iter().map(|((tier, why), copies)| Unknown { tier, why, copies: *copies });
        Report {
            compared,
            wrong: findings.wrong(),
            views: views.collect(),
            unknown: unknown.collect(),
            failed: findings.failed.clone(),
            violations,
            repaired,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            "tier  nodes     view                  same  in flight   stale  missing  orphan    dead  unknown"
                .to_owned(),
        ];
        for OfView { tier, replicas, view, counts } in &self.views {
            let nodes = if *replicas { "replicas" } else { "primaries" };
            let nodes = if *tier == "l3" { "edge" } else { nodes };
            let Counts { same, in_flight, stale, missing, orphan, dead, unknown } = counts;
            lines.push(format!(
                "{tier:<4}  {nodes:<9} {view:<17} {same:>8}  {in_flight:>9}  {stale:>6}  {missing:>7}  {orphan:>6}  {dead:>6}  {unknown:>7}"
            ));
        }
        lines.extend(
            self.unknown.iter().map(|Unknown { tier, why, copies }| format!("{tier}: {copies} unknown: {why}")),
        );
        for Evidence { violation, touched } in &self.violations {
            lines.push(violation.to_string());
            lines.extend(touched.iter().map(|touch| format!("  {touch}")));
        }
        let unlisted = self.wrong - (self.violations.len() as u64).min(self.wrong);
        if unlisted > 0 {
            lines.push(format!("and {unlisted} more"));
        }
        lines.push(format!("{} copies compared, {} wrong", self.compared, self.wrong));
        lines.extend(self.repaired.iter().flat_map(Repaired::lines));
        lines
    }
}
