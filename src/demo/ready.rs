//! Waiting until a part is ready: each asks from outside, again and again, and gives up after a while.

use crate::demo::caches::{Caches, RedisTier};
use crate::demo::output::Output;
use crate::demo::watch::Watch;
use anyhow::Result;
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::Instant;

const READY_MAX: Duration = Duration::from_secs(60);
const ASK_PERIOD: Duration = Duration::from_millis(50);
/// The hot set counts as warm from this many entries, and is waited for so long.
const HOT_MIN: usize = 900;
const HOT_MAX: Duration = Duration::from_secs(30);

/// The ingest streams: a logical slot is in use.
pub async fn streaming(pool: &PgPool) -> Result<()> {
    let ask = async || {
        let active =
            sqlx::query_scalar("SELECT count(*) FROM pg_replication_slots WHERE active AND slot_type = 'logical'");
        Ok(active.fetch_one(pool).await.unwrap_or(0i64) > 0)
    };
    until("the ingest to stream", READY_MAX, ask).await
}

/// The engine applies: every partition has a watermark in both tiers.
pub async fn applying(caches: &Caches, partitions: usize) -> Result<()> {
    let ask = async || {
        let l2 = Watch::new(caches.clone(), RedisTier::L2).look().await?;
        let l1 = Watch::new(caches.clone(), RedisTier::L1).look().await?;
        Ok(l2.partitions >= partitions && l1.partitions >= partitions)
    };
    until("the engine to apply", READY_MAX, ask).await
}

/// The gateway says that it is ready.
pub async fn answering(http: &reqwest::Client, gateway: &str) -> Result<()> {
    let url = format!("{}/readyz", gateway.trim_end_matches('/'));
    let ask = async || Ok(http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()));
    until("the gateway to be ready", READY_MAX, ask).await
}

/// The keys of the hot set in L1, once there are enough of them, or else those that are there after a while.
pub async fn hot_keys(caches: &Caches, output: &Output) -> Result<Vec<String>> {
    let deadline = Instant::now() + HOT_MAX;
    let bar = output.bar("warming the hot set", HOT_MIN);
    loop {
        let keys = caches.keys(RedisTier::L1, "*:product:hot:*").await?;
        let keys: Vec<String> = keys.into_iter().filter(|key| !key.ends_with(":_lease")).collect();
        bar.set_position(keys.len() as u64);
        if keys.len() >= HOT_MIN {
            return Ok(keys);
        }
        if Instant::now() >= deadline {
            output.line(format!("the hot set did not come to {HOT_MIN} products in {} s", HOT_MAX.as_secs()));
            return Ok(keys);
        }
        tokio::time::sleep(ASK_PERIOD * 4).await;
    }
}

async fn until(what: &str, time_max: Duration, ask: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + time_max;
    while !ask().await? {
        anyhow::ensure!(Instant::now() < deadline, "waited {} s for {what}", time_max.as_secs());
        tokio::time::sleep(ASK_PERIOD).await;
    }
    Ok(())
}
