//! `warm`: fills a view from the database. Chunks by key, claims first, then the SELECT, then the fills.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_tiers::through::Claim;
use lockstep_tiers::tier::nonce;
use lockstep_tiers::{LEASE, Tiers};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
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
    /// Entities that somebody else was filling or changing when they were looked at last.
    pub contested: u64,
    /// Entities in all.
    pub of: u64,
}

impl Warmed {
    /// Entities that can't be cached: too large, or of no name that an entry may have.
    pub fn unfit(&self) -> u64 {
        self.looked.saturating_sub(self.there + self.filled + self.contested)
    }

    fn add(&mut self, chunk: &Warmed) {
        self.looked += chunk.looked;
        self.there += chunk.there;
        self.filled += chunk.filled;
        self.contested += chunk.contested;
    }

    /// Takes a later look at the same chunk in, where what this one filled counts as there.
    fn add_again(&mut self, before: &Warmed, again: &Warmed) {
        let now = (again.there + again.filled).min(before.looked);
        let filled = (before.filled + again.filled).min(now);
        self.there = (self.there + now - filled).saturating_sub(before.there);
        self.filled = (self.filled + filled).saturating_sub(before.filled);
        self.contested = (self.contested + again.contested).saturating_sub(before.contested);
    }
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

/// Workers, where there is no rate: while one's chunk is loaded, another's is filled.
const WORKERS: usize = 4;
/// Entities of the first chunks, and of those where there is a rate, which must not be met by bursts.
const CHUNK: usize = 500;
/// What is quick comes in larger chunks, which make fuller calls; what is slow in smaller ones, so that it is filled before
/// its claims run out.
const CHUNK_MAX: usize = 2_000;
const CHUNK_MIN: usize = 20;
const QUICK: Duration = Duration::from_millis(250);
const SLOW: Duration = Duration::from_millis(750);
/// Later looks at chunks of which somebody else was filling or changing a part.
const LATER_LOOKS_MAX: u32 = 2;
/// Entities that may have come into a chunk's range meanwhile.
const NEW_MAX: usize = 100;

/// Fills every entity of a view that is missing, within a budget: what is there costs the database nothing, so that whoever
/// begins again after a kill is soon where he was. What others held leases of, somebody who was killed among them, is looked
/// at again once these have run out. `told` hears of each chunk.
pub async fn warm(
    config: &Config,
    policy: &Policy,
    view: &View,
    budget: Budget,
    shutdown: &Shutdown,
    mut told: impl FnMut(Warmed),
) -> Result<Warmed, Failure> {
    is_warmed_from_the_database(view)?;
    let (tiers, loader) = connect(config, policy, "lockstep-warm").await?;
    let of = loader.count(view).await.map_err(|error| away(view, &error))?;
    let (at_once, size_max) = match budget.rate {
        Some(rate) => (1, CHUNK.min(rate.get() as usize)),
        None => (WORKERS, CHUNK_MAX),
    };
    let list = Mutex::new(List { after: None, size: CHUNK.min(size_max), size_max });
    let work = Arc::new(Work { tiers, loader, view: view.clone(), budget, shutdown: shutdown.clone(), list });

    let (run, (done, mut dones)) = (nonce(), mpsc::channel(at_once));
    let mut workers: JoinSet<_> = (0..at_once).map(|_| work.clone().until_done(run.clone(), done.clone())).collect();
    drop(done);
    let (mut warmed, mut contested) = (Warmed { of, ..Warmed::default() }, Vec::new());
    loop {
        tokio::select! {
            Some((range, chunk)) = dones.recv() => {
                warmed.add(&chunk);
                if chunk.contested > 0 {
                    contested.push((range, chunk));
                }
                told(warmed);
            }
            Some(ended) = workers.join_next() => ended.map_err(|error| Failure::internal(error.to_string()))??,
            else => break,
        }
    }
    for _ in 0..LATER_LOOKS_MAX {
        if contested.is_empty() {
            break;
        }
        tracing::debug!(view = %view.name, entities = warmed.contested, "somebody else fills these; they are looked at again");
        shutdown.run_until_cancelled(tokio::time::sleep(LEASE + LEASE / 10)).await;
        // What a run has claimed before, it must not claim again: a call may still be on its way.
        let run = nonce();
        for (range, before) in std::mem::take(&mut contested) {
            if shutdown.is_cancelled() {
                break;
            }
            let mut entities = work.entities(range.after.as_deref(), before.looked as usize + NEW_MAX).await?;
            let last = entities.iter().position(|entity| *entity == range.last);
            entities.truncate(last.map_or(before.looked as usize, |last| last + 1));
            let (again, _) = work.fill(&run, entities).await?;
            warmed.add_again(&before, &again);
            if again.contested > 0 {
                contested.push((range, again));
            }
            told(warmed);
        }
    }
    Ok(warmed)
}

fn away(view: &View, error: &dyn std::fmt::Display) -> Failure {
    Failure::unavailable(format!("warming {}: {error}", view.name))
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

/// What the workers share: each takes the next chunk of the list, and fills it, while others do.
struct Work {
    tiers: Tiers,
    loader: Loader,
    view: View,
    budget: Budget,
    shutdown: Shutdown,
    list: Mutex<List>,
}

/// A chunk's entities: those after one, up to another.
struct Range {
    after: Option<String>,
    last: String,
}

/// The view's entities by key, as far as they have been handed out.
struct List {
    after: Option<String>,
    size: usize,
    size_max: usize,
}

impl Work {
    /// Takes chunks until there are none, and says of each what became of it.
    async fn until_done(self: Arc<Self>, run: String, done: mpsc::Sender<(Range, Warmed)>) -> Result<(), Failure> {
        while !self.shutdown.is_cancelled() {
            let mut list = self.list.lock().await;
            let entities = self.entities(list.after.as_deref(), list.size).await?;
            let Some(last) = entities.last().cloned() else { break };
            let range = Range { after: list.after.replace(last.clone()), last };
            drop(list);
            let (chunk, took) = self.fill(&run, entities).await?;
            let mut list = self.list.lock().await;
            list.size = next_size(list.size, chunk.looked as usize, took).min(list.size_max);
            drop(list);
            if done.send((range, chunk)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn entities(&self, after: Option<&str>, size: usize) -> Result<Vec<String>, Failure> {
        self.loader.entities(&self.view, after, size).await.map_err(|error| away(&self.view, &error))
    }

    /// Claims first, then the SELECT, then the fills. Says how long that took, and then waits for as long as the budget wants.
    async fn fill(&self, run: &str, entities: Vec<String>) -> Result<(Warmed, Duration), Failure> {
        let (began, view) = (Instant::now(), &self.view);
        let mut warmed = Warmed { looked: entities.len() as u64, ..Warmed::default() };
        let looked = self.tiers.claim_many(view, run, entities).await.map_err(|error| away(view, &error))?;
        (warmed.there, warmed.contested) = (looked.there, looked.busy);
        let claimed: usize = looked.claims.iter().map(Claim::count).sum();
        if claimed > 0 {
            let settled = self.tiers.settle_many(view, looked.claims).await.map_err(|error| away(view, &error))?;
            warmed.filled = settled.filled;
            warmed.contested += settled.void;
        }
        let took = began.elapsed();
        let pause =
            self.budget.rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * claimed as u32 / rate.get());
        self.shutdown.run_until_cancelled(tokio::time::sleep_until(began + pause)).await;
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

    #[test]
    fn a_later_look_counts_what_it_found_once() {
        let of = |looked, there, filled, contested| Warmed { looked, there, filled, contested, of: 0 };
        let after = |before: Warmed, again: Warmed| {
            let mut all = of(100, 40, 40, 15);
            all.add(&before);
            all.add_again(&before, &again);
            (all.looked, all.there, all.filled, all.contested, all.unfit())
        };
        let before = of(10, 2, 5, 2);
        assert_eq!(
            after(before, of(10, 7, 2, 0)),
            (110, 42, 47, 15, 6),
            "what was contested is filled; one is too large"
        );
        assert_eq!(after(before, of(10, 9, 0, 0)), (110, 44, 45, 15, 6), "somebody else filled them");
        assert_eq!(after(before, of(10, 0, 9, 0)), (110, 40, 49, 15, 6), "all were evicted meanwhile");
        assert_eq!(after(before, of(10, 7, 1, 1)), (110, 42, 46, 16, 6), "one is still contested");
    }
}
