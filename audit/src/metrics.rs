//! What the auditor counts. Keys never become labels.

use std::sync::atomic::AtomicU64;

use lockstep_process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Names and values.
type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// What the auditor counts.
#[derive(Clone, Default)]
pub(crate) struct AuditMetrics {
    checks: Family<Labels, Counter>,
    correct: Family<Labels, Float>,
    cycle_seconds: Family<Labels, Float>,
    age_seconds: Family<Labels, Float>,
    bound_seconds: Family<Labels, Float>,
    stalled: Family<Labels, Gauge>,
    lag: Family<Labels, Gauge>,
    lag_seconds: Family<Labels, Float>,
    /// Rounds that a tier, the edge or the database did not answer.
    pub failures: Counter,
}

impl AuditMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let all = AuditMetrics::default();
        metrics.register("audit_checks", "Copies held against their rows, by what they were", &all.checks);
        metrics.register(
            "audit_correct_ratio",
            "The part of judged copies that was right, over a window",
            &all.correct,
        );
        metrics.register("audit_cycle_seconds", "How long the last walk over a tier took", &all.cycle_seconds);
        metrics.register("audit_failures", "Rounds that something did not answer", &all.failures);
        metrics.register("tier_age_seconds", "The age of the oldest watermark of a tier", &all.age_seconds);
        metrics.register("tier_age_bound_seconds", "The tightest bound of a view in a tier", &all.bound_seconds);
        metrics.register("stalled_partitions", "Watermarks that stand still although the source moves", &all.stalled);
        metrics.register("consumergroup_group_lag", "Records that a tier has not applied", &all.lag);
        metrics.register("consumergroup_group_max_lag_seconds", "The age of what a tier lacks", &all.lag_seconds);
        all
    }

    pub fn checked(&self, tier: &str, view: &str, result: &str, count: u64) {
        let labels = vec![("tier", tier.to_owned()), ("view", view.to_owned()), ("result", result.to_owned())];
        self.checks.get_or_create(&labels).inc_by(count);
    }

    pub fn correct(&self, tier: &str, view: &str, window: &str, ratio: f64) {
        let labels = vec![("tier", tier.to_owned()), ("view", view.to_owned()), ("window", window.to_owned())];
        self.correct.get_or_create(&labels).set(ratio);
    }

    pub fn cycle(&self, tier: &str, seconds: f64) {
        self.cycle_seconds.get_or_create(&vec![("tier", tier.to_owned())]).set(seconds);
    }

    pub fn age(&self, tier: &str, seconds: f64) {
        self.age_seconds.get_or_create(&vec![("tier", tier.to_owned())]).set(seconds);
    }

    pub fn bound(&self, tier: &str, seconds: f64) {
        self.bound_seconds.get_or_create(&vec![("tier", tier.to_owned())]).set(seconds);
    }

    pub fn stalled(&self, who: &str, partitions: i64) {
        self.stalled.get_or_create(&vec![("tier", who.to_owned())]).set(partitions);
    }

    pub fn lag(&self, group: &str, topic: &str, partition: u32, records: i64) {
        let labels =
            vec![("group", group.to_owned()), ("topic", topic.to_owned()), ("partition", partition.to_string())];
        self.lag.get_or_create(&labels).set(records);
    }

    pub fn lag_seconds(&self, group: &str, topic: &str, seconds: f64) {
        self.lag_seconds.get_or_create(&vec![("group", group.to_owned()), ("topic", topic.to_owned())]).set(seconds);
    }
}
