//! `warm`: fills a view from the database. Chunks by key, leases first, one SELECT, then the fills.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::{ENTITIES_MAX, Loader};
use lockstep_tiers::{Read, Tiers};
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

/// Fills every entity of a view that is missing, at most `rate` a second: what is there costs the database nothing, so that
/// whoever begins again after a kill is soon where he was. `told` hears of each chunk.
pub async fn warm(
    config: &Config,
    policy: &Policy,
    view: &View,
    rate: Option<NonZeroU32>,
    shutdown: &Shutdown,
    mut told: impl FnMut(Warmed),
) -> Result<Warmed, Failure> {
    if view.tier == TierName::L3 || view.through.is_some() {
        return Err(Failure::configuration(format!("view {} is not filled from the database", view.name))
            .remedy("warm the view that it goes through; hot entries are the warmer's"));
    }
    if !view.key.is_plain() {
        return Err(Failure::configuration(format!("the keys of view {} are of more than the entity", view.name))
            .remedy("leave it to its readers, who know the other columns"));
    }
    let away = |error: &dyn std::fmt::Display| Failure::unavailable(format!("warming {}: {error}", view.name));
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let database = Database::connect(config.database()?, "lockstep-warm").await?;
    let loader = Loader::prepare(&database, policy).await?;
    let tiers = Tiers::connect(config, policy, Arc::new(loader.clone())).await?;
    let mut warmed = Warmed { of: loader.count(view).await.map_err(|error| away(&error))?, ..Warmed::default() };
    let mut after: Option<String> = None;
    while !shutdown.is_cancelled() {
        let began = Instant::now();
        let entities = loader.entities(view, after.as_deref(), ENTITIES_MAX).await.map_err(|error| away(&error))?;
        let Some(last) = entities.last() else { break };
        after = Some(last.clone());
        let tier = tiers.of(view);
        let place_of = |entity: &str| tier.layout().place(&view.group, entity);
        let mut leases = Vec::new();
        for entity in &entities {
            match tier.read(&place_of(entity), &view.key.key(entity), None).await.map_err(|error| away(&error))? {
                Read::Hit(_) => warmed.there += 1,
                Read::Lease(lease) => leases.push((entity.clone(), lease.nonce, lease.mark.position)),
                // Somebody else is filling it.
                Read::Busy(_) => {}
            }
        }
        warmed.filled += tiers.fill_many(view, place_of, &leases).await.map_err(|error| away(&error))? as u64;
        warmed.looked += entities.len() as u64;
        told(warmed);
        let budget = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * leases.len() as u32 / rate.get());
        shutdown.run_until_cancelled(tokio::time::sleep_until(began + budget)).await;
    }
    Ok(warmed)
}
