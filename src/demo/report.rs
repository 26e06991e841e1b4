//! The end: a table for people, an object for programs, and what to try next.

/// The object for programs.
mod json;

use crate::demo::output::{Output, thousands};
use crate::demo::traffic::Measured;
use lockstep_audit::{Findings, Violation};
use std::time::Duration;

/// Wrong copies that are told one by one; all are counted.
const LISTED_MAX: usize = 20;

/// Everything that is reported.
pub struct Report {
    /// The traffic.
    pub measured: Measured,
    /// The comparison.
    pub findings: Findings,
    /// What was planted, in words.
    pub planted: Vec<String>,
    /// From the start to the first customer.
    pub set_up: Duration,
}

impl Report {
    /// Prints the table, the stale copies and what to try next.
    pub fn print(&self, output: &Output) {
        output.line("");
        self.print_traffic(output);
        self.print_comparison(output);
        output.line("");
        output.line("try next:");
        output.line("  lockstep demo --plant 3              plants three stale values in each tier, and finds them");
        output.line("  eval \"$(lockstep stack up)\"         the same servers to play with, in this shell; `stack down` ends them");
        output.line(
            "  lockstep migrate && lockstep run     all roles on those servers; then, beside it: lockstep status",
        );
    }

    fn print_traffic(&self, output: &Output) {
        let measured = &self.measured;
        let (total, second_half) = (measured.tally.total(), measured.tally.second_half());
        let (l2, l1, edge) = (&measured.latencies.l2, &measured.latencies.l1, &measured.latencies.edge);
        let (refreshed, dropped) = self.refreshed_and_dropped();
        let row = |name: &str, text: String| output.line(format!("{name:16}{text}"));
        row("set up", in_seconds(self.set_up));
        row("changes", over_time(measured.changes, measured.wrote_for));
        row("commit to seen", format!("L2 {}, L1 {}, edge {} ms (p50/p99)", l2.all(), l1.all(), edge.all()));
        row("applied", format!("{} refreshed in place, {} dropped", thousands(refreshed), thousands(dropped)));
        row("reads", format!("{}, {} failed", over_time(total.reads, measured.read_for), thousands(total.failed)));
        row("hit ratio", total.hit_ratios().to_string());
        row("  second half", second_half.hit_ratios().to_string());
        let (database, late) = (thousands(total.database), thousands(second_half.database));
        row("from database", format!("{database} reads, {late} of them in the second half"));
        row("backwards", format!("{} answers older than the one before", thousands(measured.tally.backwards())));
        row("caught up", format!("{} after the last commit", in_seconds(measured.caught_up_in)));
    }

    fn print_comparison(&self, output: &Output) {
        let row = |name: &str, text: String| output.line(format!("{name:16}{text}"));
        let [l2, l1, edge] = ["l2", "l1", "l3"].map(|tier| self.findings.of_tier(tier));
        let [in_l2, in_l1, at_edge] = [l2, l1, edge].map(|tier| thousands(tier.compared()));
        row("compared", format!("{in_l2} entries in L2, {in_l1} in L1, {at_edge} pages at the edge"));
        if l2.dead + l1.dead > 0 {
            row("below the floor", format!("{} entries that no reader takes", thousands(l2.dead + l1.dead)));
        }
        row("stale", thousands(self.findings.wrong()));
        for planted in &self.planted {
            output.line(format!("  planted  {planted}"));
        }
        for wrong in self.listed() {
            let low = wrong.low.as_deref().unwrap_or("-");
            output.line(format!("  stale    {:4} {}: {} (low {low})", tier_name(wrong), wrong.key, wrong.what()));
        }
        let unlisted = self.findings.wrong() - self.listed().len() as u64;
        if unlisted > 0 {
            output.line(format!("  and {} more", thousands(unlisted)));
        }
    }

    /// Wrong copies that are told one by one.
    fn listed(&self) -> &[Violation] {
        let listed = &self.findings.listed;
        &listed[..listed.len().min(LISTED_MAX)]
    }

    fn refreshed_and_dropped(&self) -> (u64, u64) {
        let tiers = &self.measured.tiers;
        (tiers.iter().map(|tier| tier.refreshed).sum(), tiers.iter().map(|tier| tier.dropped).sum())
    }
}

/// The edge is called so in the demo's lines.
fn tier_name(wrong: &Violation) -> &str {
    if wrong.tier == "l3" { "edge" } else { &wrong.tier }
}

fn in_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn over_time(count: u64, time: Duration) -> String {
    let per_second = (count as f64 / time.as_secs_f64()).round() as u64;
    format!("{} in {} ({}/s)", thousands(count), in_seconds(time), thousands(per_second))
}
