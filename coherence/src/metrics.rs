//! What the engine counts. Keys never become labels.

use std::time::Duration;

use lockstep_process::{Metrics, Shutdown};
use lockstep_schemas::policy::TierName;
use lockstep_source::gate::Gate;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

type Labels = [(&'static str, &'static str); 1];
type Stages = Family<Labels, Histogram, fn() -> Histogram>;

/// A figure of the gate's is so old at most.
const GATE_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How many partitions of a tier are repaired just now. Clones share the figures.
#[derive(Clone, Default)]
pub(crate) struct Repairing(Family<Labels, Gauge>);

impl Repairing {
    pub fn of(&self, tier: TierName) -> Gauge {
        self.0.get_or_create(&[("tier", tier.as_str())]).clone()
    }
}

/// What the engine counts. Clones share the figures.
#[derive(Clone)]
pub(crate) struct EngineMetrics {
    /// From a change's commit until ingest gave its record to Kafka.
    pub publish: Histogram,
    /// What a batch waited at the gate.
    pub gate: Histogram,
    /// One round of purges at the edge.
    pub l3: Histogram,
    /// Records passed over that had been planned before: after a restart of ingest, or by one that slept and woke.
    pub repeated: Counter,
    /// Purges that the edge accepted, and had an older page after all.
    pub without_effect: Counter,
    /// Partitions whose tier forgot what it had applied, until it is back where it was.
    pub repairing: Repairing,
    l2: Histogram,
    l1: Histogram,
    forgotten: Family<Labels, Counter>,
    gate_waiting: Gauge,
    gate_held: Gauge,
}

impl EngineMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let stages: Stages = Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 3.0, 13)));
        // All from the start, so that none is missing where nothing happens.
        let of = |stage| stages.get_or_create(&[("stage", stage)]).clone();
        let (publish, gate, l2, l1, l3) = (of("publish"), of("gate"), of("l2"), of("l1"), of("l3"));
        let (forgotten, repeated) = (Family::<Labels, Counter>::default(), Counter::default());
        let (without_effect, repairing) = (Counter::default(), Repairing::default());
        let (gate_waiting, gate_held) = (Gauge::default(), Gauge::default());
        for tier in [TierName::L2, TierName::L1] {
            drop(forgotten.get_or_create(&[("tier", tier.as_str())]));
            drop(repairing.of(tier));
        }
        metrics.register("engine_stage_seconds", "Time that changes spend in a stage on their way", &stages);
        metrics.register("engine_gate_waiting", "Batches that wait until what they hold is visible", &gate_waiting);
        metrics.register("engine_gate_held", "1 while the gate holds all lanes", &gate_held);
        metrics.register("engine_watermarks_forgotten", "Times that a watermark had gone backwards", &forgotten);
        let help = "Partitions whose tier forgot what it had applied, until it is back where it was";
        metrics.register("engine_repairing", help, &repairing.0);
        metrics.register("engine_records_repeated", "Records passed over that had been planned before", &repeated);
        let help = "Purges that the edge accepted, and had an older page after all; they are sent again";
        metrics.register("engine_purges_without_effect", help, &without_effect);
        EngineMetrics {
            publish,
            gate,
            l3,
            repeated,
            without_effect,
            repairing,
            l2,
            l1,
            forgotten,
            gate_waiting,
            gate_held,
        }
    }

    /// A tier has answered a call that held changes.
    pub fn applied(&self, tier: TierName, took: Duration) {
        let stage = if tier == TierName::L1 { &self.l1 } else { &self.l2 };
        stage.observe(took.as_secs_f64());
    }

    /// A tier's watermark is behind where it was left.
    pub fn forgot(&self, tier: TierName) {
        self.forgotten.get_or_create(&[("tier", tier.as_str())]).inc();
    }

    /// Looks at the gate until shutdown.
    pub async fn watch_gate(self, gate: Gate, shutdown: Shutdown) {
        loop {
            let state = gate.state();
            self.gate_waiting.set(i64::try_from(state.waiting).unwrap_or(i64::MAX));
            self.gate_held.set(i64::from(state.held.is_some()));
            tokio::select! {
                () = tokio::time::sleep(GATE_LOOK_INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}
