//! Changes of one partition as a lane folds them, for whoever measures that: planned, taken into chunks, and each chunk as
//! the actions that one call carries to a tier. Nothing is gated here, and nothing applied.

use std::sync::Arc;

use lockstep_schemas::change::Change;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_tiers::Action;

use crate::fold::Chunk;
use crate::plan::Planner;

/// What one call carries.
pub struct Folded {
    /// The newest change in it.
    pub through: Position,
    /// What happens to which entry of the tier.
    pub actions: Vec<(Key, Action)>,
}

/// Folds changes as they are asked for. A change whose entity is not known does nothing here.
pub fn folded(
    planner: Arc<Planner>,
    tier: TierName,
    changes: impl IntoIterator<Item = Change>,
) -> impl Iterator<Item = Folded> {
    let (mut changes, mut chunk) = (changes.into_iter(), Chunk::default());
    std::iter::from_fn(move || {
        for change in changes.by_ref() {
            let effects = planner.effects(&change).unwrap_or_default();
            let full = (!chunk.has_room_for(&effects)).then(|| close(&mut chunk, tier));
            chunk.add(change.position, change.xid, change.committed_at, effects);
            if full.is_some() {
                return full;
            }
        }
        (!chunk.is_empty()).then(|| close(&mut chunk, tier))
    })
}

fn close(chunk: &mut Chunk, tier: TierName) -> Folded {
    let mut chunk = std::mem::take(chunk);
    let actions = chunk.take_actions().remove(&tier).unwrap_or_default();
    Folded { through: chunk.through, actions: actions.into_iter().map(|entry| (entry.key, entry.action)).collect() }
}
