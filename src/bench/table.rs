//! How distributions are printed: for people a line each, for programs an object.

use serde_json::{Map, Value, json};

use crate::demo::output::Output;
use crate::demo::prober::latency::Latency;

/// Prints latencies below a title; the first is the reference of the others.
pub(super) fn print(output: &Output, title: &str, rows: &[(&str, &Latency)]) -> Value {
    let reference = rows.first().map_or(0.0, |(_, latency)| latency.distribution()[2]).max(0.001);
    output.line("");
    output.line(title);
    output.line("reference: the same bytes through the same broker, from producing to consuming, in the same run");
    output.line("                     p50       p90       p99     p99.9       max   samples  p99 / reference");
    let mut object = Map::new();
    for (name, latency) in rows {
        let [p50, p90, p99, p999, max] = latency.distribution();
        let (samples, ratio) = (latency.all().samples, p99 / reference);
        output.line(format!(
            "{name:<16}{p50:>8.2}  {p90:>8.2}  {p99:>8.2}  {p999:>8.2}  {max:>8.2}  {samples:>8}  {ratio:>15.2}"
        ));
        let row = json!({"p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max, "samples": samples, "p99_ratio": ratio});
        object.insert(name.replace(' ', "_").to_lowercase(), row);
    }
    object.into()
}

/// Median, least, greatest.
pub(super) fn spread(figures: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let at = |n: usize| figures.get(n).copied().unwrap_or(0.0);
    [at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1))]
}
