//! Metrics of the gateway, in OpenMetrics text. Keys never become labels.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::views::Counts;

type Labels = [(&'static str, &'static str); 1];

/// What the gateway counts.
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<Labels, Counter>,
    seconds: Histogram,
    pub views: Counts,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("lockstep");
        let answers = Family::<Labels, Counter>::default();
        registry.register("reads", "Answers by who gave them: l1, l2, database, error", answers.clone());
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        registry.register("read_seconds", "Time to an answer", seconds.clone());
        let views = Counts::default();
        registry.register("views_published", "View events that Kafka has", views.published.clone());
        registry.register("views_dropped", "View events dropped: Kafka is away, or too slow", views.dropped.clone());
        Metrics { registry, answers, seconds, views }
    }

    /// An answer was given.
    pub fn answered(&self, by: &'static str, seconds: f64) {
        self.answers.get_or_create(&[("by", by)]).inc();
        self.seconds.observe(seconds);
    }

    /// All of them as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
