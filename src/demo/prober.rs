//! Measures from outside how long a commit takes to be seen: a text is changed, and three tasks look for it.

/// Histograms.
pub mod latency;
/// One probe in one tier.
pub mod poll;

use crate::demo::caches::{Caches, L2};
use crate::demo::prober::latency::Latency;
use crate::demo::prober::poll::{Look, judge, judge_entry, until_seen};
use crate::demo::shop::pace::Pace;
use anyhow::{Context, Result};
use redis::aio::ConnectionLike;
use serde::Deserialize;
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// The time from one probe to the next.
pub const PROBE_PERIOD: Duration = Duration::from_millis(100);
/// Probes under way at once; while a tier is far behind, the others wait their turn.
const PROBES_MAX: usize = 4;

/// The latencies of all tiers.
pub struct Latencies {
    /// Redis, one node or a cluster.
    pub l2: Latency,
    /// Redis Cluster.
    pub l1: Latency,
    /// The CDN.
    pub edge: Latency,
    /// When each probe was committed, by its number.
    pub commits: Mutex<HashMap<u64, Instant>>,
    /// What began earlier does not count.
    pub from: Instant,
    /// Whoever wants to know of each at once.
    pub listener: OnceLock<Listener>,
}

/// Is told the number of a probe that has just been committed.
pub type Listener = Box<dyn Fn(u64) -> Result<()> + Send + Sync>;

impl Latencies {
    /// Nothing measured yet; a probe that is committed before `from` will not count.
    pub fn counting_from(from: Instant) -> Result<Self> {
        Ok(Self {
            l2: Latency::counting_from(from)?,
            l1: Latency::counting_from(from)?,
            edge: Latency::counting_from(from)?,
            commits: Mutex::default(),
            from,
            listener: OnceLock::new(),
        })
    }

    /// A probe has just been committed.
    pub fn committed(&self, number: u64) -> Result<Instant> {
        let committed = Instant::now();
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).insert(number, committed);
        self.listener.get().map_or(Ok(()), |listener| listener(number))?;
        Ok(committed)
    }
}

/// A product of the hot set, and the key that it has in L1.
#[derive(Debug, Clone)]
pub struct HotProduct {
    /// Its id.
    pub product_id: String,
    /// With the hash tag of its partition.
    pub l1_key: String,
}

impl HotProduct {
    /// Its key in L2, which has the same tag where L2 is a cluster too.
    fn l2_key(&self, tagged: bool) -> String {
        let tag = self.l1_key.split_once("}:").filter(|_| tagged);
        let head = tag.map(|(tag, _)| format!("{tag}}}:")).unwrap_or_default();
        format!("{head}product:all:{}", self.product_id)
    }
}

/// What a prober needs.
#[derive(Clone)]
pub struct Prober {
    /// The shop's database.
    pub pool: PgPool,
    /// L2 and L1.
    pub caches: Caches,
    /// The edge's address.
    pub edge: String,
    /// Shared with the shoppers.
    pub http: reqwest::Client,
    /// Not empty.
    pub hot: Arc<Vec<HotProduct>>,
    /// Where samples go.
    pub latencies: Arc<Latencies>,
    /// Where changes are counted.
    pub pace: Arc<Pace>,
}

/// A prober that is under way.
pub struct Running {
    task: JoinHandle<Result<()>>,
    stop: CancellationToken,
}

impl Running {
    /// Begins no further probe, and waits for those under way.
    pub async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await.context("the prober panicked")?
    }
}

impl Prober {
    /// Starts probing.
    pub fn start(self, period: Duration) -> Running {
        let stop = CancellationToken::new();
        Running { task: tokio::spawn(self.run(period, stop.clone())), stop }
    }

    async fn run(self, period: Duration, stop: CancellationToken) -> Result<()> {
        let mut clock = tokio::time::interval(period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let permits = Arc::new(Semaphore::new(PROBES_MAX));
        let mut probes = JoinSet::new();
        for number in 1.. {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = clock.tick() => {}
            }
            while let Some(probe) = probes.try_join_next() {
                probe.context("a probe panicked")?;
            }
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                continue;
            };
            let product = self.hot[fastrand::usize(..self.hot.len())].clone();
            if let Some(committed) = self.write(&product.product_id, number).await? {
                let prober = self.clone();
                probes.spawn(async move {
                    prober.look_everywhere(&product, number, committed).await;
                    drop(permit);
                });
            }
        }
        while let Some(probe) = probes.join_next().await {
            probe.context("a probe panicked")?;
        }
        Ok(())
    }

    /// Commits the probe; the clock begins once the database has said so. None: the product is gone.
    async fn write(&self, product_id: &str, number: u64) -> Result<Option<Instant>> {
        let updated = sqlx::query("UPDATE products SET description = $2 WHERE product_id = $1")
            .bind(product_id)
            .bind(poll::text(number))
            .execute(&self.pool)
            .await
            .context("write a probe")?;
        let committed = self.latencies.committed(number)?;
        self.pace.committed(0, updated.rows_affected());
        Ok((updated.rows_affected() == 1).then_some(committed))
    }

    async fn look_everywhere(&self, product: &HotProduct, number: u64, committed: Instant) {
        let l2_key = product.l2_key(matches!(self.caches.l2, L2::Cluster(_)));
        let page = format!("{}/v1/product/{}", self.edge.trim_end_matches('/'), product.product_id);
        tokio::join!(
            until_seen(committed, &self.latencies.l2, || look_at_entry(self.caches.l2.clone(), &l2_key, number)),
            until_seen(committed, &self.latencies.l1, || look_at_entry(
                self.caches.l1.clone(),
                &product.l1_key,
                number
            )),
            until_seen(committed, &self.latencies.edge, || look_at_page(&self.http, &page, number)),
        );
    }
}

async fn look_at_entry(mut connection: impl ConnectionLike, key: &str, number: u64) -> Look {
    let mut pipe = redis::pipe();
    pipe.cmd("HGET").arg(key).arg("description").cmd("EXISTS").arg(key);
    judge_entry(&pipe.query_async(&mut connection).await, number)
}

#[derive(Deserialize)]
struct Page {
    description: Option<String>,
}

/// The edge always has an answer: where it keeps no copy, the gateway gives one.
async fn look_at_page(http: &reqwest::Client, url: &str, number: u64) -> Look {
    let Ok(response) = http.get(url).send().await else {
        return Look::NotYet;
    };
    let page = response.json::<Page>().await.ok().and_then(|page| page.description);
    page.map_or(Look::NotYet, |description| judge(&description, number))
}
