//! Entries that went backwards: whose `_low` or `_high` is older than it was seen before. No rule of the protocol does that:
//! a refresh is newer than both, and of two fills the later one has read the database later. Only a node that forgot does, or
//! somebody else who writes. Pure, and of fixed size: what is not remembered is not told.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use lockstep_schemas::position::Position;

use crate::judge::Fields;

/// Entries that are remembered: so many in each of so many places. Of more in one place, those seen last.
const PLACES: usize = 1 << 14;
const IN_ONE_PLACE: usize = 4;

/// What was seen of an entry, and when that reading had ended.
#[derive(Clone, Copy)]
struct Seen {
    entry: u64,
    bounds: Bounds,
    ended: Instant,
}

/// What an entry says of itself: every change up to `low` is in it, and none beyond `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub low: Position,
    pub high: Position,
}

impl Bounds {
    /// Of an entry that has both.
    pub fn of(fields: &Fields) -> Option<Self> {
        let position = |name: &str| fields.get(name)?.parse().ok();
        Some(Bounds { low: position("_low")?, high: position("_high")? })
    }

    fn is_before(self, other: Bounds) -> bool {
        self.low < other.low || self.high < other.high
    }
}

/// The bounds of entries as they were seen last.
pub(crate) struct LastSeen {
    places: Vec<[Option<Seen>; IN_ONE_PLACE]>,
    hasher: RandomState,
}

impl LastSeen {
    pub fn new() -> Self {
        LastSeen { places: Vec::new(), hasher: RandomState::new() }
    }

    /// Takes a reading in; whether the entry went backwards. Readings that overlap say nothing of one another.
    pub fn backwards(&mut self, tier: &str, key: &str, bounds: Bounds, began: Instant, ended: Instant) -> bool {
        if self.places.is_empty() {
            self.places.resize(PLACES, [None; IN_ONE_PLACE]);
        }
        let entry = self.hasher.hash_one((tier, key));
        let place = &mut self.places[entry as usize % PLACES];
        let seen = Some(Seen { entry, bounds, ended });
        let Some(known) = place.iter_mut().flatten().find(|known| known.entry == entry) else {
            if let Some(oldest) = place.iter_mut().min_by_key(|known| known.map(|known| known.ended)) {
                *oldest = seen;
            }
            return false;
        };
        let is_before = bounds.is_before(known.bounds);
        let went_back = known.ended <= began && is_before;
        if went_back || !is_before {
            (known.bounds, known.ended) = (bounds, ended);
        }
        went_back
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockstep_schemas::position::Lsn;

    use super::*;

    #[test]
    fn an_entry_goes_backwards_once() {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut seen = LastSeen::new();
        let mut see = |key: &str, (low, high), began, ended| {
            let bounds = Bounds { low: Position::before(1, Lsn(low)), high: Position::before(1, Lsn(high)) };
            seen.backwards("l2", key, bounds, at(began), at(ended))
        };
        assert!(!see("a", (10, 12), 0, 1));
        assert!(!see("a", (20, 24), 1, 2));
        assert!(!see("b", (5, 5), 1, 2), "another entry");
        assert!(!see("a", (15, 24), 0, 3), "a reading that began before the newer one had ended");
        assert!(see("a", (15, 24), 4, 5));
        assert!(!see("a", (15, 24), 6, 7), "told once");
        assert!(see("a", (22, 22), 8, 9), "what lay in between was refreshed");
        assert!(!see("a", (22, 22), 10, 11));
    }
}
