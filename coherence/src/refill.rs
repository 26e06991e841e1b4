//! Entries that an action took from somebody: the engine holds their leases and fills them, so that a key that changes
//! faster than it is filled is not missing for ever (docs/protocol.md, [e]).

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::position::Position;
use lockstep_source::gate::Gate;
use lockstep_tiers::through::{Leased, ThroughError};
use lockstep_tiers::{Place, Tiers};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::core::event::Mine;

/// Batches of a kind that are filled at once.
const UNDER_WAY_MAX: usize = 4;
/// Batches of a kind that wait for that; of more, the leases run out by themselves, and readers fill.
const WAITING_MAX: usize = 512;
/// Entries of a batch that are filled at once from another view.
const THROUGH_AT_ONCE: usize = 16;

/// How many batches of one kind are under way, and wait.
#[derive(Clone)]
struct Limit {
    places: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

impl Limit {
    fn new() -> Self {
        Limit { places: Arc::new(Semaphore::new(WAITING_MAX)), permits: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }
}

/// The engine's own filling. Clones share its limit.
#[derive(Clone)]
pub(crate) struct Refill {
    tiers: Tiers,
    policy: Arc<Policy>,
    gate: Gate,
    from_database: Limit,
    /// Entries that are filled from another view wait for that view's: they must not keep the places of those.
    through: Limit,
    tasks: TaskTracker,
}

impl Refill {
    pub fn new(tiers: Tiers, policy: Arc<Policy>, gate: Gate, tasks: TaskTracker) -> Self {
        Refill { tiers, policy, gate, from_database: Limit::new(), through: Limit::new(), tasks }
    }

    /// Fills them beside the lane.
    pub fn start(&self, place: Place, mine: Mine) {
        // A key of more than the entity is for its reader to fill: the lease runs out.
        if !mine.view.key.is_plain() {
            return;
        }
        let limit = if mine.view.through.is_some() { &self.through } else { &self.from_database };
        let Ok(waiting) = limit.places.clone().try_acquire_owned() else { return };
        let (refill, permits) = (self.clone(), limit.permits.clone());
        self.tasks.spawn(async move {
            let Ok(permit) = permits.acquire().await else { return };
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
                let nonce: Arc<str> = mine.nonce.as_str().into();
                let lease = |entity: &String| Leased { entity: entity.clone(), nonce: nonce.clone(), low };
                self.tiers.fill_many(&mine.view, mine.entities.iter().map(lease).collect()).await?;
            }
            Some(beneath) => {
                let fill = async |entity: &String| {
                    self.tiers.get(beneath, entity).await?;
                    self.tiers.fill_from_l2(&mine.view, beneath, place, entity, &mine.nonce).await.map(drop)
                };
                let mut fills = stream::iter(mine.entities.iter().map(fill)).buffer_unordered(THROUGH_AT_ONCE);
                while let Some(filled) = fills.next().await {
                    filled?;
                }
            }
        }
        Ok(())
    }
}
