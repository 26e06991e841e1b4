//! How fast requests go to one vendor, from all lanes of a process.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Turns, so far apart. They are given in the order in which they are asked for.
pub(super) struct Pace {
    apart: Duration,
    /// The next free turn.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many turns a second.
    pub fn new(per_second_max: u32) -> Self {
        Pace { apart: Duration::from_secs(1) / per_second_max.max(1), next: Mutex::new(None) }
    }

    /// Waits for a turn. One that is given up meanwhile is not used: a little slower is no harm.
    pub async fn turn(&self) {
        let now = Instant::now();
        let turn = self.reserve(now);
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
    }

    /// Takes a turn where one is free now.
    pub fn try_turn(&self) -> bool {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = next.is_none_or(|next| next <= now);
        if is_free {
            *next = Some(now + self.apart);
        }
        is_free
    }

    /// The next free turn, which is taken.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + self.apart);
        turn
    }

    /// Gives nobody a turn before then.
    pub fn hold(&self, until: Instant) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = Some(next.map_or(until, |next| next.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_so_far_apart() {
        let (pace, now) = (Pace::new(10), Instant::now());
        let tenths = |tenths: u32| now + Duration::from_millis(100) * tenths;
        assert_eq!([pace.reserve(now), pace.reserve(now), pace.reserve(now)], [tenths(0), tenths(1), tenths(2)]);
        assert_eq!(pace.reserve(tenths(9)), tenths(9), "what was not used is not made up for");
        pace.hold(tenths(70));
        pace.hold(tenths(30));
        assert_eq!([pace.reserve(tenths(9)), pace.reserve(tenths(9))], [tenths(70), tenths(71)]);
    }
}
