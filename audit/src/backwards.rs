//! Entries that went backwards: whose `_low` is older than it was seen before. No rule of the protocol does that, only a
//! node that forgot, or somebody else who writes. Pure, and of fixed size: what is not remembered is not told.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Instant;

use lockstep_schemas::position::Position;

/// Entries that are remembered: so many in each of so many places. Of more in one place, those seen last.
const PLACES: usize = 1 << 14;
const IN_ONE_PLACE: usize = 4;

/// What was seen of an entry, and when that reading had ended.
#[derive(Clone, Copy)]
struct Seen {
    entry: u64,
    low: Position,
    ended: Instant,
}

/// The `_low` of entries as they were seen last.
pub(crate) struct Lows {
    places: Vec<[Option<Seen>; IN_ONE_PLACE]>,
    hasher: RandomState,
}

impl Lows {
    pub fn new() -> Self {
        Lows { places: Vec::new(), hasher: RandomState::new() }
    }

    /// Takes a reading in; whether the entry went backwards. Readings that overlap say nothing of one another.
    pub fn backwards(&mut self, tier: &str, key: &str, low: Position, began: Instant, ended: Instant) -> bool {
        if self.places.is_empty() {
            self.places.resize(PLACES, [None; IN_ONE_PLACE]);
        }
        let entry = self.hasher.hash_one((tier, key));
        let place = &mut self.places[entry as usize % PLACES];
        let seen = Some(Seen { entry, low, ended });
        let Some(known) = place.iter_mut().flatten().find(|known| known.entry == entry) else {
            if let Some(oldest) = place.iter_mut().min_by_key(|known| known.map(|known| known.ended)) {
                *oldest = seen;
            }
            return false;
        };
        let went_back = known.ended <= began && low < known.low;
        if went_back || low >= known.low {
            (known.low, known.ended) = (low, ended);
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
        let mut lows = Lows::new();
        let mut see = |key: &str, low: u64, began, ended| {
            lows.backwards("l2", key, Position::before(1, Lsn(low)), at(began), at(ended))
        };
        assert!(!see("a", 10, 0, 1));
        assert!(!see("a", 20, 1, 2));
        assert!(!see("b", 5, 1, 2), "another entry");
        assert!(!see("a", 15, 0, 3), "a reading that began before the newer one had ended");
        assert!(see("a", 15, 4, 5));
        assert!(!see("a", 15, 6, 7), "told once");
        assert!(!see("a", 15, 8, 9));
    }
}
