//! How far purges have begun, for `no-store`: an answer made from what is behind them must not be kept by the CDN
//! (docs/protocol.md, [16g], [16g4]). An answer from L1 does not bring it along, so it is polled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use lockstep_process::Shutdown;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Place, Tier};
use tokio::sync::watch;

/// Part of the origin's maximum response time: an answer may be older than its own request by so much.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Partitions that are asked for at once.
const LOOKS_AT_ONCE: usize = 64;

type Known = Arc<HashMap<Place, (Position, Instant)>>;

/// The newest poll. Clones share it.
#[derive(Clone)]
pub(crate) struct Begun {
    known: watch::Receiver<Known>,
    fresh_max: Duration,
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
        let (tell, known) = watch::channel(Known::default());
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(POLL_INTERVAL);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = shutdown.cancelled() => return,
                }
                let look = |place: Place| {
                    let l2 = l2.clone();
                    async move {
                        let asked_at = Instant::now();
                        let mark = l2.watermark(&place).await.ok().flatten()?;
                        Some((place, (mark.l3_begun.unwrap_or_default(), asked_at)))
                    }
                };
                // Side by side: one after another, a far L2 would make every poll too old to be believed.
                let looks = stream::iter(places.iter().cloned().map(look)).buffer_unordered(LOOKS_AT_ONCE);
                let newest: HashMap<_, _> = looks.filter_map(async |look| look).collect().await;
                tell.send_replace(Arc::new(newest));
            }
        });
        Begun { known, fresh_max }
    }

    /// Whether the CDN may keep an answer that holds everything up to a position.
    pub fn allows(&self, place: &Place, position: Position) -> bool {
        let known = self.known.borrow();
        known.get(place).is_some_and(|(begun, asked_at)| position >= *begun && asked_at.elapsed() <= self.fresh_max)
    }
}
