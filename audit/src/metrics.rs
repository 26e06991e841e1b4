//! What the auditor counts. Keys never become labels.

use std::sync::atomic::AtomicU64;

use lockstep_process::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// Names and values.
type Labels = Vec<(&'static str, String)>;
type Float = Gauge<f64, AtomicU64>;

/// How far tiers are behind the log, in records and in time.
#[derive(Clone, Default)]
struct Lag {
    records: Family<Labels, Gauge>,
    seconds: Family<Labels, Float>,
    records_max: Family<Labels, Gauge>,
    seconds_max: Family<Labels, Float>,
}

/// What the auditor counts.
#[derive(Clone, Default)]
pub(crate) struct AuditMetrics {
    checks: Family<Labels, Counter>,
    correct: Family<Labels, Float>,
    cycle_seconds: Family<Labels, Float>,
    age_seconds: Family<Labels, Float>,
    bound_seconds: Family<Labels, Float>,
    stalled: Family<Labels, Gauge>,
    lag: Lag,
    regressions: Family<Labels, Counter>,
    parked: Family<Labels, Gauge>,
    commands: Family<Labels, Counter>,
    repairs: Family<Labels, Counter>,
    /// Wrong copies that were not repaired at once, since too many were.
    pub repairs_put_off: Counter,
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
        let Lag { records, seconds, records_max, seconds_max } = &all.lag;
        metrics.register("consumergroup_group_lag", "Records that a tier has not applied, by partition", records);
        metrics.register("consumergroup_group_lag_seconds", "The age of a tier's watermark, by partition", seconds);
        metrics.register("consumergroup_group_max_lag", "The most records that a partition lacks", records_max);
        metrics.register("consumergroup_group_max_lag_seconds", "The age of the oldest watermark", seconds_max);
        metrics.register("audit_regressions", "Watermarks and entries seen to have gone backwards", &all.regressions);
        metrics.register("parked_open", "Things that are parked, and not resolved", &all.parked);
        metrics.register("audit_commands", "Commands that the audit has sent to a tier", &all.commands);
        metrics.register("audit_repairs", "Wrong copies that an invalidation was asked for", &all.repairs);
        let put_off = "Wrong copies that are left for a later walk, since too many are being repaired";
        metrics.register("audit_repairs_put_off", put_off, &all.repairs_put_off);
        for tier in ["l2", "l1"] {
            for of in ["watermark", "entry"] {
                drop(all.regressions.get_or_create(&vec![("tier", tier.to_owned()), ("of", of.to_owned())]));
            }
        }
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

    /// Of one partition. `seconds` is not known of a watermark that bears no time.
    pub fn lag(&self, group: &str, topic: &str, partition: u32, records: i64, seconds: Option<f64>) {
        let labels =
            vec![("group", group.to_owned()), ("topic", topic.to_owned()), ("partition", partition.to_string())];
        self.lag.records.get_or_create(&labels).set(records);
        if let Some(seconds) = seconds {
            self.lag.seconds.get_or_create(&labels).set(seconds);
        }
    }

    /// Of a topic's worst partition.
    pub fn lag_max(&self, group: &str, topic: &str, records: i64, seconds: Option<f64>) {
        let labels = vec![("group", group.to_owned()), ("topic", topic.to_owned())];
        self.lag.records_max.get_or_create(&labels).set(records);
        if let Some(seconds) = seconds {
            self.lag.seconds_max.get_or_create(&labels).set(seconds);
        }
    }

    /// A watermark, or an entry, was seen to have gone backwards.
    pub fn regressed(&self, tier: &str, of: &str) {
        self.regressions.get_or_create(&vec![("tier", tier.to_owned()), ("of", of.to_owned())]).inc();
    }

    /// So many things are open of what a role has parked for a reason.
    pub fn parked(&self, by: &str, reason: &str, open: i64) {
        self.parked.get_or_create(&vec![("by", by.to_owned()), ("reason", reason.to_owned())]).set(open);
    }

    /// So many commands were sent to a tier so far.
    pub fn commanded(&self, tier: &str, commands: u64) {
        let counter = self.commands.get_or_create(&vec![("tier", tier.to_owned())]);
        counter.inc_by(commands.saturating_sub(counter.get()));
    }

    pub fn repaired(&self, tier: &str, view: &str) {
        self.repairs.get_or_create(&vec![("tier", tier.to_owned()), ("view", view.to_owned())]).inc();
    }
}
