//! One line a second: what changed, how late the tiers were, what readers got.

use crate::demo::caches::{Caches, RedisTier};
use crate::demo::output::{Output, thousands};
use crate::demo::prober::Latencies;
use crate::demo::shop::pace::Pace;
use crate::demo::shoppers::counts::Counts;
use crate::demo::shoppers::tally::Tally;
use crate::demo::watch::Watch;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(1);
/// A line does not wait longer than this for a node that is down.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// A ticker that is under way.
pub struct Ticker {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Ticker {
    /// Begins to print.
    pub fn start(
        caches: Caches,
        output: Arc<Output>,
        pace: Arc<Pace>,
        tally: Arc<Tally>,
        latencies: Arc<Latencies>,
    ) -> Self {
        let stop = CancellationToken::new();
        let watches = [Watch::new(caches.clone(), RedisTier::L2), Watch::new(caches, RedisTier::L1)];
        let lines =
            Lines { pace, tally, latencies, watches, then: Instant::now(), changes: 0, counts: Counts::default() };
        output.line("commit to seen: p50/p99 of the last second in ms; age: of the partition furthest behind");
        Self { task: tokio::spawn(tick(lines, output, stop.clone())), stop }
    }

    /// No further line.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.context("the ticker panicked")
    }
}

async fn tick(mut lines: Lines, output: Arc<Output>, stop: CancellationToken) {
    let mut clock = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = clock.tick() => output.line(lines.next().await),
        }
    }
}

struct Lines {
    pace: Arc<Pace>,
    tally: Arc<Tally>,
    latencies: Arc<Latencies>,
    watches: [Watch; 2],
    then: Instant,
    changes: u64,
    counts: Counts,
}

impl Lines {
    /// What happened since the line before.
    async fn next(&mut self) -> String {
        let [l2_watch, l1_watch] = &mut self.watches;
        let (l2_age, l1_age) = tokio::join!(age(l2_watch), age(l1_watch));
        let (changes, counts, now) = (self.pace.changes(), self.tally.total(), Instant::now());
        let per_second = |count: u64| thousands((count as f64 / (now - self.then).as_secs_f64()).round() as u64);
        let recent = counts.since(&self.counts);
        let line = format!(
            "{:4.0} s  {:>6} changes/s  {:>6} reads/s  commit to L2 {}  L1 {}  edge {}  hits {}  age L2 {l2_age}  L1 {l1_age}",
            self.pace.elapsed().as_secs_f64(),
            per_second(changes - self.changes),
            per_second(recent.reads),
            self.latencies.l2.take_recent(),
            self.latencies.l1.take_recent(),
            self.latencies.edge.take_recent(),
            recent.hit_ratios(),
        );
        (self.then, self.changes, self.counts) = (now, changes, counts);
        line
    }
}

/// `-` where a tier does not answer, or has no time yet.
async fn age(watch: &mut Watch) -> String {
    let looked = tokio::time::timeout(LOOK_MAX, watch.look()).await;
    let age_ms = looked.ok().and_then(Result::ok).and_then(|state| state.age_ms);
    age_ms.map_or_else(|| "-".to_owned(), |age_ms| format!("{} ms", thousands(age_ms)))
}
