//! An evaluation as a table, and as rows of JSON.

use std::fmt::Write as _;

use lockstep_warmer::forecast::evaluate::{Coverage, HOUR_LINES_MIN};
use lockstep_warmer::forecast::online::LEAD_HOURS;
use serde_json::json;

/// A table for people, in percent.
pub(super) fn text(results: &[Coverage]) -> String {
    let hours = results.first().map_or(0, |coverage| coverage.hours.len());
    let mut text = format!(
        "coverage of {hours} hours of at least {HOUR_LINES_MIN} lines; sets are fixed {LEAD_HOURS} h ahead, from what was sold before\n\
         model              K   mean %    p10 %   of all lines %"
    );
    for coverage in results {
        let [mean, p10, weighted] = figures(coverage).map(|share| share * 100.0);
        let (model, k) = (coverage.model, coverage.k);
        // Writing to a string can't fail.
        let _ = write!(text, "\n{model:<12} {k:>7} {mean:>8.2} {p10:>8.2} {weighted:>16.2}");
    }
    text
}

/// A row a model and size; shares between 0 and 1.
pub(super) fn json(results: &[Coverage]) -> String {
    let row = |coverage: &Coverage| {
        let [mean, p10, weighted] = figures(coverage);
        json!({"model": coverage.model, "k": coverage.k, "mean": mean, "p10": p10, "weighted": weighted, "hours": coverage.hours.len()})
    };
    serde_json::Value::from(results.iter().map(row).collect::<Vec<_>>()).to_string()
}

fn figures(coverage: &Coverage) -> [f64; 3] {
    [coverage.mean(), coverage.p10(), coverage.weighted()].map(Option::unwrap_or_default)
}
