//! Entries that an action took from somebody: the engine holds their leases and fills them, so that a key that changes
//! faster than it is filled is not missing for ever (docs/protocol.md, [e]).

use std::sync::Arc;

use lockstep_schemas::policy::Policy;
use lockstep_schemas::position::Position;
use lockstep_source::gate::Gate;
use lockstep_tiers::through::ThroughError;
use lockstep_tiers::{Place, Tiers};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::core::event::Mine;

/// Queries of this kind under way at once.
const QUERIES_MAX: usize = 4;
/// Batches that wait for a query; of more, the leases run out by themselves, and readers fill.
const WAITING_MAX: usize = 512;

/// The engine's own filling. Clones share its limit.
#[derive(Clone)]
pub(crate) struct Refill {
    tiers: Tiers,
    policy: Arc<Policy>,
    gate: Gate,
    places: Arc<Semaphore>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Refill {
    pub fn new(tiers: Tiers, policy: Arc<Policy>, gate: Gate, tasks: TaskTracker) -> Self {
        Refill {
            tiers,
            policy,
            gate,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            permits: Arc::new(Semaphore::new(QUERIES_MAX)),
            tasks,
        }
    }

    /// Fills them beside the lane.
    pub fn start(&self, place: Place, mine: Mine) {
        // A key of more than the entity is for its reader to fill: the lease runs out.
        if !mine.view.key.is_plain() {
            return;
        }
        let Ok(waiting) = self.places.clone().try_acquire_owned() else { return };
        let refill = self.clone();
        self.tasks.spawn(async move {
            let Ok(permit) = refill.permits.acquire().await else { return };
            if let Err(error) = refill.fill(&place, &mine).await {
                tracing::debug!(view = %mine.view.name, %error, "entries were not filled again; readers will");
            }
            drop((permit, waiting));
        });
    }

    /// From where on a change is not sure to be in what is read now. Changes that are visible, and that the lane has still
    /// before it, would drop the entry again if it began at the watermark.
    fn low_of(&self, mine: &Mine) -> Position {
        let horizon = self.gate.horizon().filter(|horizon| horizon.epoch == mine.low.epoch);
        horizon.map_or(mine.low, |horizon| horizon.max(mine.low))
    }

    async fn fill(&self, place: &Place, mine: &Mine) -> Result<(), ThroughError> {
        let beneath = mine.view.through.as_ref().and_then(|name| self.policy.views.get(name));
        match beneath {
            None => {
                let low = self.low_of(mine);
                let leases: Vec<_> =
                    mine.entities.iter().map(|entity| (entity.clone(), mine.nonce.clone(), low)).collect();
                self.tiers.fill_many(&mine.view, |_| place.clone(), &leases).await?;
            }
            Some(beneath) => {
                for entity in &mine.entities {
                    self.tiers.get(beneath, entity).await?;
                    self.tiers.fill_from_l2(&mine.view, beneath, place, entity, &mine.nonce).await?;
                }
            }
        }
        Ok(())
    }
}
