//! Metrics of the gateway: at its own port, and among those of its process. Keys never become labels.

use lockstep_process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::views::Counts;

type Labels = [(&'static str, &'static str); 3];

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadResult {
    /// The entity.
    Found,
    /// That there is none.
    Absent,
    /// What a tier beyond its bound has, as the policy says.
    Stale,
    /// What the database has, since a tier was beyond its bound, or an operator wants it so.
    Bypass,
    /// Something failed.
    Failed,
    /// No answer came in time.
    Late,
}

impl ReadResult {
    fn as_str(self) -> &'static str {
        match self {
            ReadResult::Found => "found",
            ReadResult::Absent => "absent",
            ReadResult::Stale => "stale",
            ReadResult::Bypass => "bypass",
            ReadResult::Failed => "failed",
            ReadResult::Late => "late",
        }
    }
}

/// What the gateway counts.
pub(crate) struct GatewayMetrics {
    /// All of it, for the gateway's own port.
    own: Metrics,
    answers: Family<Labels, Counter>,
    seconds: Histogram,
    pub views: Counts,
}

impl GatewayMetrics {
    pub fn register(of_process: &Metrics) -> Self {
        let (answers, views) = (Family::default(), Counts::default());
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        let all = GatewayMetrics { own: Metrics::default(), answers, seconds, views };
        for metrics in [&all.own, of_process] {
            metrics.register("reads", "Answers, by who gave them and what they were", &all.answers);
            metrics.register("read_seconds", "Time to an answer", &all.seconds);
            metrics.register("views_published", "View events that Kafka has", &all.views.published);
            let dropped = "View events dropped: Kafka is away, or too slow";
            metrics.register("views_dropped", dropped, &all.views.dropped);
        }
        all
    }

    /// An answer to a route was given: `l1`, `l2`, `database` or `error` gave it.
    pub fn answered(&self, route: &'static str, by: &'static str, result: ReadResult, seconds: f64) {
        self.answers.get_or_create(&[("route", route), ("by", by), ("result", result.as_str())]).inc();
        self.seconds.observe(seconds);
    }

    /// All of them, in OpenMetrics text.
    pub fn text(&self) -> String {
        self.own.text()
    }
}
