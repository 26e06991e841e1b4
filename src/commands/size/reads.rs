//! What the tiers themselves tell: bytes of entries, and what a read costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::{Account, Tier, TierError, Tiers};
use serde::Serialize;

/// Reads by which a read's cost is measured: enough for the server's account, which counts in milliseconds at least.
const READS: usize = 20_000;
const READS_AT_ONCE: usize = 32;

/// A view's entries.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ViewSize {
    pub view: String,
    pub tier: &'static str,
    /// Entities that it could have an entry for.
    pub entities: u64,
    pub sampled: usize,
    /// In the server's memory, all that is kept for an entry. `null`: no entry was there.
    pub bytes_mean: Option<f64>,
    #[serde(skip)]
    pub is_hot: bool,
}

/// What a read costs its server.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    pub tier: &'static str,
    pub primaries: usize,
    pub reads: usize,
    /// Microseconds of CPU of the server a read; `null`: there was nothing to read.
    pub cpu_us: Option<f64>,
    pub used_bytes: u64,
    /// What all primaries together may hold; `null`: no bound is set.
    pub bytes_max: Option<u64>,
}

pub(super) struct Measured {
    pub views: Vec<ViewSize>,
    pub costs: Vec<Cost>,
}

pub(super) async fn measure(config: &Config, policy: &Policy, sample: usize) -> Result<Measured, Failure> {
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let database = Database::connect(config.database()?, "lockstep-size").await?;
    let loader = Loader::prepare(&database, policy).await?;
    let tiers = Tiers::connect(config, policy, Arc::new(loader.clone())).await?;
    let away = |error: &dyn std::fmt::Display| Failure::unavailable(format!("measuring: {error}"));
    let mut measured = Measured { views: Vec::new(), costs: Vec::new() };
    for tier in [&tiers.l2, &tiers.l1] {
        let mut there = Vec::new();
        let of_tier = policy.views.values().filter(|view| view.tier == tier.name && view.key.is_plain());
        for view in of_tier {
            let entities = loader.count(view).await.map_err(|error| away(&error))?;
            let found = sampled(tier, &loader, view, sample).await.map_err(|error| away(&error))?;
            let bytes: u64 = found.iter().map(|(_, bytes)| bytes).sum();
            measured.views.push(ViewSize {
                view: view.name.to_string(),
                tier: tier.name.as_str(),
                entities,
                sampled: found.len(),
                bytes_mean: (!found.is_empty()).then(|| bytes as f64 / found.len() as f64),
                is_hot: view.hot_set.is_some(),
            });
            there.extend(found.into_iter().map(|(entity, _)| (Arc::clone(view), entity)));
        }
        measured.costs.push(cost(tier, &there).await.map_err(|error| away(&error))?);
    }
    database.close().await;
    Ok(measured)
}

/// Entries that are there, with their bytes: of the entities in key order, until there are enough. It takes no lease.
async fn sampled(
    tier: &Tier,
    loader: &Loader,
    view: &View,
    most: usize,
) -> Result<Vec<(String, u64)>, Box<dyn std::error::Error + Send + Sync>> {
    let (mut found, mut after, mut looked) = (Vec::new(), None::<String>, 0);
    while found.len() < most && looked < LOOKED_MAX {
        let entities = loader.entities(view, after.as_deref(), PAGE).await?;
        let Some(last) = entities.last() else { break };
        after = Some(last.clone());
        looked += entities.len();
        let look = |entity: String| async move {
            let place = tier.layout().place(&view.group, &entity);
            tier.memory_of(&place, &view.key.key(&entity)).await.map(|bytes| bytes.map(|bytes| (entity, bytes)))
        };
        let looks: Vec<_> = stream::iter(entities).map(look).buffered(READS_AT_ONCE).collect().await;
        for look in looks {
            found.extend(look?);
        }
    }
    found.truncate(most);
    Ok(found)
}

/// Entities of one page, and of all that are looked for.
const PAGE: usize = 500;
const LOOKED_MAX: usize = 20_000;

/// Reads what is there, as any reader does, and asks the servers what that took; what they spend anyway is measured first.
async fn cost(tier: &Tier, there: &[(Arc<View>, String)]) -> Result<Cost, TierError> {
    let idle = spent(tier, async { tokio::time::sleep(Duration::from_millis(500)).await }).await?;
    let reads = if there.is_empty() { 0 } else { READS };
    let read = |at: usize| {
        let (view, entity) = &there[at % there.len()];
        async move { tier.read(&tier.layout().place(&view.group, entity), &view.key.key(entity), None).await.is_ok() }
    };
    let busy = spent(tier, stream::iter(0..reads).map(read).buffer_unordered(READS_AT_ONCE).count()).await?;
    let own = (busy.cpu_seconds - idle.cpu_seconds / idle.seconds * busy.seconds).max(0.0);
    let accounts = tier.accounts().await?;
    let bytes_max = accounts.iter().map(|account| account.bytes_max).sum::<Option<u64>>();
    Ok(Cost {
        tier: if tier.name == TierName::L1 { "l1" } else { "l2" },
        primaries: accounts.len(),
        reads,
        cpu_us: (reads > 0).then(|| own * 1e6 / reads as f64),
        used_bytes: accounts.iter().map(|account| account.used_bytes).sum(),
        bytes_max,
    })
}

struct Spent {
    cpu_seconds: f64,
    seconds: f64,
}

async fn spent<T>(tier: &Tier, work: impl Future<Output = T>) -> Result<Spent, TierError> {
    let sum = |accounts: &[Account]| accounts.iter().map(|account| account.cpu_seconds).sum::<f64>();
    let before = sum(&tier.accounts().await?);
    let began = Instant::now();
    work.await;
    let seconds = began.elapsed().as_secs_f64().max(1e-9);
    Ok(Spent { cpu_seconds: (sum(&tier.accounts().await?) - before).max(0.0), seconds })
}
