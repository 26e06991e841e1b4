//! Sweeps after raised floors: what lies below them is dead, and only holds memory.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_tiers::{Place, Swept, Tier, Tiers, sweep};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

/// Names of a tier that are looked at in a second: about half a percent of what a node answers.
const NAMES_PER_SECOND: NonZeroU32 = NonZeroU32::new(5_000).expect("not zero");
/// Floors that rise together, as at a start or with a new epoch, are swept in one pass.
const GATHER: Duration = Duration::from_secs(5);

type Raised = BTreeSet<(TierName, Place)>;

/// Where floors were raised since the last pass. Clones share it; there are no more than tiers and partitions.
#[derive(Clone, Default)]
pub(crate) struct Sweeper {
    raised: Arc<Mutex<Raised>>,
    wake: Arc<Notify>,
    /// Entries removed.
    pub swept: Counter,
}

impl Sweeper {
    /// A floor was raised.
    pub fn add(&self, tier: TierName, place: &Place) {
        self.raised().insert((tier, place.clone()));
        self.wake.notify_one();
    }

    /// Sweeps until shutdown, one tier after another. What can't be swept now is tried again with the next floors.
    pub async fn run(self, tiers: Tiers, policy: Arc<Policy>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = shutdown.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = shutdown.cancelled() => return,
            }
            let raised = std::mem::take(&mut *self.raised());
            for (name, tier) in [(TierName::L2, &tiers.l2), (TierName::L1, &tiers.l1)] {
                let of_tier = raised.iter().filter(|(tier, _)| *tier == name);
                let places: BTreeSet<Place> = of_tier.map(|(_, place)| place.clone()).collect();
                if !places.is_empty() {
                    self.sweep(tier, &policy, places, &shutdown).await;
                }
            }
        }
    }

    async fn sweep(&self, tier: &Tier, policy: &Policy, places: BTreeSet<Place>, shutdown: &Shutdown) {
        let (name, partitions) = (tier.name, places.len());
        match sweep(tier, policy, &places, NAMES_PER_SECOND, shutdown).await {
            Ok(Swept { looked, swept }) => {
                self.swept.inc_by(swept);
                tracing::info!(tier = name.as_str(), partitions, swept, looked, "swept below raised floors");
            }
            Err(error) => {
                tracing::warn!(tier = name.as_str(), %error, "the sweep broke off; it is tried again when the next floor rises");
                self.raised().extend(places.into_iter().map(|place| (name, place)));
            }
        }
    }

    fn raised(&self) -> MutexGuard<'_, Raised> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
