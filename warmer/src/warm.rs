//! `warm`: fills a view from the database. Chunks by key, leases first, then the SELECT, then the fills.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::Tiers;
use lockstep_tiers::through::ThroughError;
use tokio::time::Instant;

/// What `warm` has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Entities looked at.
    pub looked: u64,
    /// Entries that were there.
    pub there: u64,
    /// Entries filled.
    pub filled: u64,
    /// Entities in all.
    pub of: u64,
}

/// The tiers, and the loader beneath them.
pub(crate) async fn connect(config: &Config, policy: &Policy, application: &str) -> Result<(Tiers, Loader), Failure> {
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let database = Database::connect(config.database()?, application).await?;
    let loader = Loader::prepare(&database, policy).await?;
    Ok((Tiers::connect(config, policy, Arc::new(loader.clone())).await?, loader))
}

/// How much may be asked of the database and the tier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Entries filled a second, at most; `None`: as fast as it goes.
    pub rate: Option<NonZeroU32>,
}

/// Chunks under way at once, where there is no rate: while one is loaded, another is filled.
const CHUNKS_AT_ONCE: usize = 4;
/// Entities of the first chunks, and of those where there is a rate, which must not be met by bursts.
const CHUNK: usize = 500;
/// What is quick comes in larger chunks, which make fuller calls; what is slow in smaller ones, so that it is filled before
/// its leases run out, and its readers don't wait for long.
const CHUNK_MAX: usize = 2_000;
const CHUNK_MIN: usize = 20;
const QUICK: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_millis(750);

/// Fills every entity of a view that is missing, within a budget: what is there costs the database nothing, so that whoever
/// begins again after a kill is soon where he was. `told` hears of each chunk.
pub async fn warm(
    config: &Config,
    policy: &Policy,
    view: &View,
    budget: Budget,
    shutdown: &Shutdown,
    mut told: impl FnMut(Warmed),
) -> Result<Warmed, Failure> {
    is_warmed_from_the_database(view)?;
    let away = |error: &dyn std::fmt::Display| Failure::unavailable(format!("warming {}: {error}", view.name));
    let (tiers, loader) = connect(config, policy, "lockstep-warm").await?;
    let mut warmed = Warmed { of: loader.count(view).await.map_err(|error| away(&error))?, ..Warmed::default() };
    let at_once = if budget.rate.is_some() { 1 } else { CHUNKS_AT_ONCE };
    let chunk_max = budget.rate.map_or(CHUNK_MAX, |rate| CHUNK.min(rate.get() as usize));
    let mut size = CHUNK.min(chunk_max);
    let (mut under_way, mut after, mut is_listed) = (FuturesUnordered::new(), None::<String>, false);
    while !shutdown.is_cancelled() {
        if !is_listed && under_way.len() < at_once {
            let entities = loader.entities(view, after.as_deref(), size).await.map_err(|error| away(&error))?;
            match entities.last().cloned() {
                Some(last) => {
                    after = Some(last);
                    under_way.push(Chunk { tiers: &tiers, view, entities }.fill(budget, shutdown));
                }
                None => is_listed = true,
            }
            continue;
        }
        let Some(chunk) = under_way.next().await else { break };
        let (chunk, took) = chunk.map_err(|error| away(&error))?;
        size = next_size(size, chunk.looked as usize, took).min(chunk_max);
        warmed.looked += chunk.looked;
        warmed.there += chunk.there;
        warmed.filled += chunk.filled;
        told(warmed);
    }
    Ok(warmed)
}

/// Refuses a view whose entries are not made from the database by their entity alone.
pub fn is_warmed_from_the_database(view: &View) -> Result<(), Failure> {
    if view.tier == TierName::L3 || view.through.is_some() {
        return Err(Failure::configuration(format!("view {} is not filled from the database", view.name))
            .remedy("name the view that it goes through; hot entries are the warmer's"));
    }
    if !view.key.is_plain() {
        return Err(Failure::configuration(format!("the keys of view {} are of more than the entity", view.name))
            .remedy("leave it to its readers, who know the other columns"));
    }
    Ok(())
}

/// Entities that are looked at together.
struct Chunk<'c> {
    tiers: &'c Tiers,
    view: &'c View,
    entities: Vec<String>,
}

impl Chunk<'_> {
    /// Leases first, then the SELECT, then the fills. Says how long that took.
    async fn fill(self, budget: Budget, shutdown: &Shutdown) -> Result<(Warmed, Duration), ThroughError> {
        let Chunk { tiers, view, entities } = self;
        let began = Instant::now();
        let mut warmed = Warmed { looked: entities.len() as u64, ..Warmed::default() };
        let looked = tiers.lease_many(view, entities).await?;
        warmed.there = looked.there;
        let leased = looked.leased.len();
        if leased > 0 {
            warmed.filled = tiers.fill_many(view, looked.leased).await? as u64;
        }
        let took = began.elapsed();
        let pause = budget.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * leased as u32 / rate.get());
        shutdown.run_until_cancelled(tokio::time::sleep_until(began + pause)).await;
        Ok((warmed, took))
    }
}

/// How many entities the next chunk has, after one of so many took so long.
fn next_size(size: usize, looked: usize, took: Duration) -> usize {
    match took {
        _ if took < QUICK => size.max(2 * looked).min(CHUNK_MAX),
        _ if took > SLOW => size.min(looked / 2).max(CHUNK_MIN),
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_where_they_are_quick_and_shrink_where_they_are_slow() {
        let of = |size, looked, millis| next_size(size, looked, Duration::from_millis(millis));
        assert_eq!((of(500, 500, 10), of(1_000, 500, 10), of(2_000, 2_000, 10)), (1_000, 1_000, 2_000));
        assert_eq!((of(500, 7, 1), of(500, 500, 500)), (500, 500), "the last one is short; neither quick nor slow");
        assert_eq!((of(2_000, 500, 900), of(500, 500, 5_000), of(20, 20, 5_000)), (250, 250, 20));
    }
}
