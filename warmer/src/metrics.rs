//! What forecast and warmer count. Keys never become labels.

use std::sync::atomic::AtomicU64;

use lockstep_process::Metrics;
use lockstep_schemas::grade::{GradeState, Graded};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

type Labels = [(&'static str, &'static str); 1];
type Share = Gauge<f64, AtomicU64>;

/// Of the warmer.
pub(crate) struct WarmerMetrics {
    pub looked: Counter,
    pub filled: Counter,
    pub filled_bytes: Counter,
    pub wasted_bytes: Counter,
    pub let_go: Counter,
    pub pages: Counter,
    pub halts: Family<Labels, Counter>,
    pub refused: Family<Labels, Counter>,
    pub load_seconds: Histogram,
    members: Gauge,
    rate: Share,
    coverage: Share,
    precision: Share,
    lru_hit_ratio: Share,
    gain: Share,
    low: Gauge,
}

impl WarmerMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = WarmerMetrics {
            looked: Counter::default(),
            filled: Counter::default(),
            filled_bytes: Counter::default(),
            wasted_bytes: Counter::default(),
            let_go: Counter::default(),
            pages: Counter::default(),
            halts: Family::default(),
            refused: Family::default(),
            load_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            members: Gauge::default(),
            rate: Share::default(),
            coverage: Share::default(),
            precision: Share::default(),
            lru_hit_ratio: Share::default(),
            gain: Share::default(),
            low: Gauge::default(),
        };
        metrics.register("warmer_entries_looked", "Members of the hot set that were looked at", &own.looked);
        metrics.register("warmer_entries_filled", "Of them, those that were missing and filled", &own.filled);
        metrics.register("warmer_filled_bytes", "Names and values of entries filled", &own.filled_bytes);
        metrics.register(
            "warmer_wasted_bytes",
            "Of them, of entries let go that nobody had asked for",
            &own.wasted_bytes,
        );
        metrics.register("warmer_entries_let_go", "Entries removed because their products left the set", &own.let_go);
        metrics.register("warmer_pages", "Pages asked for through the edge", &own.pages);
        metrics.register("warmer_halts", "Times that warming stopped, by why", &own.halts);
        metrics.register("warmer_scores_refused", "Scores that could not be used, by why", &own.refused);
        metrics.register("warmer_load_seconds", "Time of the warmer's own loads from the database", &own.load_seconds);
        metrics.register("warmer_hot_set_members", "Members of the hot set", &own.members);
        metrics.register("warmer_entries_per_second", "How fast the warmer may go now", &own.rate);
        metrics.register(
            "warmer_coverage_ratio",
            "Share of the last hour's asks that the set fixed before had",
            &own.coverage,
        );
        metrics.register("warmer_precision_ratio", "Share of the set that the last hour asked for", &own.precision);
        metrics.register(
            "warmer_lru_hit_ratio",
            "Hit ratio of an LRU of the same size in that hour",
            &own.lru_hit_ratio,
        );
        metrics.register("warmer_hit_ratio_gain", "Coverage less the LRU's hit ratio", &own.gain);
        metrics.register("warmer_coverage_low", "1: the last hour's coverage was below 80 %", &own.low);
        own
    }

    /// What the warmer says of itself.
    pub fn told(&self, graded: &Graded) {
        self.members.set(i64::try_from(graded.members).unwrap_or(i64::MAX));
        self.rate.set(graded.entries_per_second);
        let known = [
            (&self.coverage, graded.coverage),
            (&self.precision, graded.precision),
            (&self.lru_hit_ratio, graded.lru_hit_ratio),
            (&self.gain, graded.gain()),
        ];
        for (gauge, value) in known {
            if let Some(value) = value {
                gauge.set(value);
            }
        }
        self.low.set(i64::from(graded.state() == GradeState::Low));
    }
}

/// Of the forecast.
#[derive(Default)]
pub(crate) struct ForecastMetrics {
    pub lines: Counter,
    pub views: Counter,
    pub scores: Counter,
    pub products: Gauge,
    pub half_life_seconds: Gauge,
    pub begun_again: Counter,
}

impl ForecastMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = ForecastMetrics::default();
        metrics.register("forecast_lines", "Order lines counted", &own.lines);
        metrics.register("forecast_views", "Views counted, each as often as it stands for", &own.views);
        metrics.register("forecast_scores", "Scores published", &own.scores);
        metrics.register("forecast_products", "Products of which something is remembered", &own.products);
        metrics.register("forecast_half_life_seconds", "The half-life that covers most now", &own.half_life_seconds);
        metrics.register("forecast_begun_again", "Times that it began again from what was kept", &own.begun_again);
        own
    }
}
