//! The two texts in which metrics are told: OpenMetrics to whoever asks for it, the older form of Prometheus to all others.

use std::collections::BTreeSet;

/// The media type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of the older form.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Media type and text for who accepts this, from OpenMetrics.
pub fn answer(accept: Option<&str>, open_metrics: String) -> (&'static str, String) {
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        return (OPEN_METRICS, open_metrics);
    }
    (PLAIN, plain(&open_metrics))
}

/// In the older form a counter's metadata bear the name of its samples, and there are neither units nor an end.
fn plain(open_metrics: &str) -> String {
    let counters: BTreeSet<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len() + open_metrics.len() / 16);
    for line in open_metrics.lines() {
        let word = |start: &str| line.strip_prefix(start).and_then(|rest| rest.split_once(' '));
        let told = word("# HELP ").map(|told| ("# HELP ", told)).or(word("# TYPE ").map(|told| ("# TYPE ", told)));
        match told {
            Some((start, (name, rest))) if counters.contains(name) => {
                text.extend([start, name, "_total ", rest, "\n"]);
            }
            None if line.starts_with("# UNIT ") || line == "# EOF" => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP lockstep_rows Rows.\n# TYPE lockstep_rows counter\nlockstep_rows_total 1\n\
                        # HELP lockstep_age_seconds Age.\n# TYPE lockstep_age_seconds gauge\n\
                        # UNIT lockstep_age_seconds seconds\nlockstep_age_seconds 0.5\n# EOF\n";

    #[test]
    fn each_gets_the_form_that_he_asks_for() {
        let accept = Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
        assert_eq!(answer(accept, OPEN.to_owned()), (OPEN_METRICS, OPEN.to_owned()));
        let plain = "# HELP lockstep_rows_total Rows.\n# TYPE lockstep_rows_total counter\nlockstep_rows_total 1\n\
                     # HELP lockstep_age_seconds Age.\n# TYPE lockstep_age_seconds gauge\nlockstep_age_seconds 0.5\n";
        for accept in [None, Some("*/*"), Some("text/plain")] {
            assert_eq!(answer(accept, OPEN.to_owned()), (PLAIN, plain.to_owned()));
        }
    }
}
