//! How far purges have begun, for `no-store`: an answer made from what is behind them must not be kept by the CDN
//! (docs/protocol.md, [16g], [16g4]). An answer from L1 does not bring it along, so it is polled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use lockstep_process::Shutdown;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Place, Tier};
use tokio::sync::{Notify, watch};

/// Part of the origin's maximum response time: an answer may be older than its own request by so much.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A page waits no longer for this than for an L2 that answers; without it, the CDN does not keep the page.
const LOOK_WAIT_MAX: Duration = Duration::from_millis(50);
/// Polls in a row that nobody has asked for, until they rest.
const UNASKED_MAX: u32 = 20;

/// Partitions that are asked for at once.
const LOOKS_AT_ONCE: usize = 64;

type Known = Arc<HashMap<Place, (Position, Instant)>>;

/// The newest poll. Clones share it. Where nobody reads pages, nobody polls.
#[derive(Clone)]
pub(crate) struct Begun {
    l2: Tier,
    known: Arc<watch::Sender<Known>>,
    demand: Arc<Demand>,
    fresh_max: Duration,
}

/// Whether somebody reads pages.
#[derive(Default)]
struct Demand {
    is_asked: AtomicBool,
    wake: Notify,
}

impl Begun {
    /// Starts to poll the groups that have views on L3. A poll older than `fresh_max` is not believed.
    pub fn follow(l2: Tier, policy: &Policy, fresh_max: Duration, shutdown: Shutdown) -> Self {
        let groups =
            policy.groups.values().filter(|group| policy.views_of(&group.name).any(|view| view.tier == TierName::L3));
        let partitions = l2.layout().partitions();
        let places: Vec<Place> = groups
            .flat_map(|group| (0..partitions).map(|partition| Place { group: group.name.clone(), partition }))
            .collect();
        let known = Arc::new(watch::Sender::new(Known::default()));
        let begun = Begun { l2, known, demand: Arc::default(), fresh_max };
        let polling = begun.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = polling.poll(&places) => {}
                () = shutdown.cancelled() => {}
            }
        });
        begun
    }

    async fn poll(&self, places: &[Place]) {
        let mut tick = tokio::time::interval(POLL_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut unasked = 0;
        loop {
            tick.tick().await;
            // Side by side: one after another, a far L2 would make every poll too old to be believed.
            let looks = places.iter().cloned().map(|place| look(self.l2.clone(), place));
            let looks = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
            let newest: HashMap<_, _> = looks.filter_map(async |look| look).collect().await;
            self.known.send_replace(Arc::new(newest));
            unasked = if self.demand.is_asked.swap(false, Ordering::Relaxed) { 0 } else { unasked + 1 };
            if unasked >= UNASKED_MAX {
                self.demand.wake.notified().await;
                unasked = 0;
            }
        }
    }

    /// Says that a page of this place is about to be read. Where no poll is fresh, since nobody has read any for a while, the
    /// place is asked for at once: the first page after a rest may be kept like any other.
    pub async fn expect(&self, place: &Place) {
        self.demand.is_asked.store(true, Ordering::Relaxed);
        self.demand.wake.notify_one();
        let is_fresh = |known: &Known| known.get(place).is_some_and(|(_, at)| at.elapsed() <= self.fresh_max / 2);
        if is_fresh(&self.known.borrow()) {
            return;
        }
        if let Ok(Some((place, found))) =
            tokio::time::timeout(LOOK_WAIT_MAX, look(self.l2.clone(), place.clone())).await
        {
            self.known.send_modify(|known| {
                Arc::make_mut(known).insert(place, found);
            });
        }
    }

    /// Whether the CDN may keep an answer that holds everything up to a position.
    pub fn allows(&self, place: &Place, position: Position) -> bool {
        let known = self.known.borrow();
        known.get(place).is_some_and(|(begun, asked_at)| position >= *begun && asked_at.elapsed() <= self.fresh_max)
    }
}

/// Up to where purges of a place have begun, and when that was asked.
async fn look(l2: Tier, place: Place) -> Option<(Place, (Position, Instant))> {
    let asked_at = Instant::now();
    let mark = l2.watermark(&place).await.ok().flatten()?;
    Some((place, (mark.l3_begun.unwrap_or_default(), asked_at)))
}
