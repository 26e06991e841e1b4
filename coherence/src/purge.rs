//! L3: purges of one partition, in rounds (docs/protocol.md, "The edge", [16a]-[16j]).
//!
//! A response that was on its way when the purge came may be stored after it. So each purge is repeated once every such
//! response must have ended: one layer needs two rounds, one maximum response time apart. Then one page of them is looked at:
//! what the edge accepted and did not do is purged again.

mod proof;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::{Shutdown, retry};
use lockstep_schemas::position::Position;
use lockstep_tiers::Edge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::core::event::Purged;
pub(crate) use proof::Proofs;

/// Tags that wait; beyond, the partition's own tag stands for all of them.
const TAGS_MAX: usize = 5_000;
/// Second rounds that wait, each of what one first round purged.
const ROUNDS_MAX: usize = 2_000;

#[derive(Default)]
struct Pending {
    through: Option<Purged>,
    tags: BTreeSet<String>,
}

/// What is learnt of purges.
pub(crate) struct Told {
    /// Time of a round, until the edge has accepted it.
    pub seconds: Histogram,
    /// Whether they had an effect.
    pub proofs: Proofs,
}

/// The purges of one partition.
pub(crate) struct Purges {
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
    partition_tag: String,
    /// Up to here both rounds are done.
    pub done: watch::Receiver<Option<Purged>>,
}

impl Purges {
    /// Starts the partition's task, which ends with the lane.
    pub fn start(edge: Edge, response_max: Duration, partition_tag: String, told: Told, stop: Shutdown) -> Self {
        let (pending, wake) = (Arc::new(Mutex::new(Pending::default())), Arc::new(Notify::new()));
        let (tell, done) = watch::channel(None);
        let (shared, woken, broad) = (pending.clone(), wake.clone(), partition_tag.clone());
        tokio::spawn(async move {
            let second = VecDeque::new();
            let rounds = Rounds { edge, response_max, second, tell, partition_tag: broad, told };
            rounds.run(&shared, &woken, &stop).await;
        });
        Purges { pending, wake, partition_tag, done }
    }

    /// Everything before `purged` has been applied beneath; these tags changed on the way.
    pub fn push(&self, purged: Purged, tags: &BTreeSet<String>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.through = Some(purged);
        pending.tags.extend(tags.iter().cloned());
        if pending.tags.len() > TAGS_MAX {
            pending.tags = BTreeSet::from([self.partition_tag.clone()]);
        }
        self.wake.notify_one();
    }
}

/// What was purged once, and is due again.
struct Second {
    due: Instant,
    purged: Purged,
    tags: BTreeSet<String>,
}

struct Rounds {
    edge: Edge,
    response_max: Duration,
    second: VecDeque<Second>,
    tell: watch::Sender<Option<Purged>>,
    partition_tag: String,
    told: Told,
}

impl Rounds {
    async fn run(mut self, pending: &Mutex<Pending>, wake: &Notify, stop: &Shutdown) {
        loop {
            let due = self.second.front().map(|second| second.due);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = wake.notified() => {}
                () = async { tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {}
            }
            let taken = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
            if let Some(purged) = taken.through
                && self.first_round(purged, taken.tags, stop).await.is_none()
            {
                return;
            }
            if self.second_round(stop).await.is_none() {
                return;
            }
        }
    }

    async fn first_round(&mut self, purged: Purged, tags: BTreeSet<String>, stop: &Shutdown) -> Option<()> {
        if tags.is_empty() {
            match self.second.back_mut() {
                Some(last) => last.purged = purged,
                None => drop(self.tell.send_replace(Some(purged))),
            }
            return Some(());
        }
        self.purge(&tags, None, stop).await?;
        // From now on: a response under way when the round ended has ended by then.
        let due = Instant::now() + self.response_max;
        if self.second.len() < ROUNDS_MAX {
            self.second.push_back(Second { due, purged, tags });
        } else if let Some(last) = self.second.back_mut() {
            *last = Second { due, purged, tags: BTreeSet::from([self.partition_tag.clone()]) };
        }
        Some(())
    }

    async fn second_round(&mut self, stop: &Shutdown) -> Option<()> {
        let now = Instant::now();
        let ripe = self.second.iter().take_while(|second| second.due <= now).count();
        if ripe == 0 {
            return Some(());
        }
        let mut tags = BTreeSet::new();
        let mut purged = None;
        for second in self.second.drain(..ripe) {
            tags.extend(second.tags);
            purged = Some(second.purged);
        }
        self.purge(&tags, purged.map(|(position, _)| position), stop).await?;
        self.tell.send_replace(purged);
        Some(())
    }

    /// Until it is done; with a position, until nothing speaks against its effect.
    async fn purge(&self, tags: &BTreeSet<String>, purged: Option<Position>, stop: &Shutdown) -> Option<()> {
        let all: Vec<String> = tags.iter().cloned().collect();
        // Chosen once: what was seen to have had no effect is looked at again until it had.
        let page = purged.and_then(|position| Some((self.told.proofs.choose(&self.edge, tags)?, position)));
        let once = async || {
            self.edge.purge(&all).await?;
            match &page {
                Some((path, position)) => self.told.proofs.look(&self.edge, path, *position).await,
                None => Ok(()),
            }
        };
        let began = Instant::now();
        let done = tokio::select! {
            done = retry::until_ok("purging the edge", stop, once) => done,
            () = stop.cancelled() => None,
        };
        if done.is_some() {
            self.told.seconds.observe(began.elapsed().as_secs_f64());
        }
        done
    }
}
