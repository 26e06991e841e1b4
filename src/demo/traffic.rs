//! The traffic: writers, shoppers and the prober, until the time is over and every tier has caught up.

/// One line a second.
pub mod ticker;

use crate::demo::caches::RedisTier;
use crate::demo::output::Output;
use crate::demo::prober::{Latencies, Prober};
use crate::demo::roles::Roles;
use crate::demo::servers::Servers;
use crate::demo::set_up::OpenShop;
use crate::demo::shop::pace::Pace;
use crate::demo::shop::{self, Till};
use crate::demo::shoppers::Shoppers;
use crate::demo::shoppers::choice::Choice;
use crate::demo::shoppers::tally::Tally;
use crate::demo::traffic::ticker::Ticker;
use crate::demo::watch::{TierState, Watch};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The slowest tier has so long to catch up once the shop is quiet.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
const OUTERMOST_TIER: &str = "l3";

/// How much traffic.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How long the shop is open.
    pub lasts: Duration,
    /// Changes per second.
    pub rate: u32,
    /// Reads per second.
    pub reads: u32,
    /// The time from one probe to the next.
    pub probe_period: Duration,
}

/// What the traffic was like.
pub struct Measured {
    /// Changes committed.
    pub changes: u64,
    /// How long writers wrote.
    pub wrote_for: Duration,
    /// How long shoppers read.
    pub read_for: Duration,
    /// How long the slowest tier took to catch up at the end.
    pub caught_up_in: Duration,
    /// What shoppers saw.
    pub tally: Arc<Tally>,
    /// What the prober saw.
    pub latencies: Arc<Latencies>,
    /// What L2's and L1's watermarks said at the end.
    pub tiers: [TierState; 2],
}

/// Runs the traffic, and returns when it is over and every tier has caught up.
pub async fn run(
    load: Load,
    servers: &Servers,
    shop: &OpenShop,
    roles: &Roles,
    output: &Arc<Output>,
    latencies: Arc<Latencies>,
) -> Result<Measured> {
    let pace = Arc::new(Pace::start(load.rate, load.lasts));
    let (tally, till) = (Arc::new(Tally::default()), Arc::new(Till::default()));
    let counted = Arc::clone(&pace);
    roles.count_changes_by(move || counted.changes());

    let choice = Arc::new(Choice::new(Arc::clone(&shop.trace), Arc::clone(&till)));
    let shoppers = Shoppers::start(&servers.edge_url, &shop.http, load.reads, &choice, &pace, &tally);
    let prober = prober(servers, shop, &latencies, &pace).start(load.probe_period);
    let ticker = Ticker::start(
        shop.caches.clone(),
        Arc::clone(output),
        Arc::clone(&pace),
        Arc::clone(&tally),
        Arc::clone(&latencies),
    );

    shop::trade(&shop.pool, &shop.trace, &till, &pace).await?;
    prober.stop().await?;
    let (changes, wrote_for) = (pace.changes(), pace.elapsed());
    output.line("the shop is quiet; shoppers go on until every tier has caught up");
    let caught_up_in = catch_up(servers, shop).await?;
    shoppers.stop().await?;
    ticker.stop().await?;

    let l2 = Watch::new(shop.caches.clone(), RedisTier::L2).look().await?;
    let l1 = Watch::new(shop.caches.clone(), RedisTier::L1).look().await?;
    Ok(Measured { changes, wrote_for, read_for: pace.elapsed(), caught_up_in, tally, latencies, tiers: [l2, l1] })
}

fn prober(servers: &Servers, shop: &OpenShop, latencies: &Arc<Latencies>, pace: &Arc<Pace>) -> Prober {
    Prober {
        pool: shop.pool.clone(),
        caches: shop.caches.clone(),
        edge: servers.edge_url.clone(),
        http: shop.http.clone(),
        hot: Arc::new(shop.hot.clone()),
        latencies: Arc::clone(latencies),
        pace: Arc::clone(pace),
    }
}

/// Everything the shop wrote lies before the position that is asked for after its last commit.
async fn catch_up(servers: &Servers, shop: &OpenShop) -> Result<Duration> {
    let began = Instant::now();
    let lsn: String = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&shop.pool).await?;
    servers.lockstep()?.wait(&lsn, OUTERMOST_TIER, CATCH_UP_MAX).await.context("the tiers did not catch up")?;
    Ok(began.elapsed())
}
