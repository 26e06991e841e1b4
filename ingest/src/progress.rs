//! When to say how far the log is complete, and what. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::progress::Progress;

/// At the earliest so long after the last one.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(20);
const INTERVAL_FLOWING: Duration = Duration::from_millis(100);
/// Where nothing happens, as long as nobody reads by a close bound: each one has every lane move in every tier. With what a
/// lane moves later, this stays below what `status` calls up to date.
const INTERVAL_IDLE: Duration = Duration::from_secs(2);
const INTERVAL_IDLE_BOUND: Duration = Duration::from_secs(1);
/// What is close: beyond it, a lane that moves as seldom is never taken for one that is behind.
const BOUND_CLOSE: Duration = Duration::from_secs(6);

/// How often progress is said where nothing happens, for views of which the closest bound is this.
pub(crate) fn idle_interval(closest_bound: Option<Duration>) -> Duration {
    if closest_bound.is_some_and(|bound| bound < BOUND_CLOSE) { INTERVAL_IDLE_BOUND } else { INTERVAL_IDLE }
}

/// The next offset of every partition, and what was said last.
pub(crate) struct ProgressKeeper {
    epoch: u16,
    next: Vec<(String, Vec<i64>)>,
    said: (Lsn, i64),
    said_at: Option<Instant>,
    idle_interval: Duration,
}

impl ProgressKeeper {
    /// `next`: of each group, the end offset of each partition at the start. `idle_interval`: see [`idle_interval`].
    pub fn new(epoch: u16, next: Vec<(String, Vec<i64>)>, idle_interval: Duration) -> Self {
        ProgressKeeper { epoch, next, said: (Lsn(0), 0), said_at: None, idle_interval }
    }

    /// The next offset of every partition.
    pub fn next(&self) -> BTreeMap<String, Vec<i64>> {
        self.next.iter().cloned().collect()
    }

    /// A record of a group was acknowledged there. `false`: at an offset that was there before, so the topic was made
    /// anew under us.
    pub fn acknowledged(&mut self, group: usize, partition: i32, offset: i64) -> bool {
        let partitions = self.next.get_mut(group).map(|(_, next)| next);
        if let Some(next) = partitions.and_then(|next| next.get_mut(usize::try_from(partition).ok()?)) {
            let grows = offset >= *next;
            *next = (*next).max(offset + 1);
            return grows;
        }
        true
    }

    /// The record that is due, if one is.
    pub fn due(&mut self, confirmed: (Lsn, i64), settled: bool, now: Instant) -> Option<Progress> {
        let since = self.said_at.map_or(Duration::MAX, |at| now.duration_since(at));
        let wait = match (confirmed.0 > self.said.0, settled) {
            (true, true) => INTERVAL_MIN,
            (true, false) => INTERVAL_FLOWING,
            (false, _) => self.idle_interval,
        };
        // Nothing has been confirmed yet, or it is not known as of when, or the server has been silent: then there is nothing to say.
        if since < wait || confirmed.0 == Lsn(0) || confirmed.1 == 0 || confirmed == self.said {
            return None;
        }
        (self.said, self.said_at) = (confirmed, Some(now));
        Some(Progress { position: Position::before(self.epoch, confirmed.0), at: confirmed.1, next: self.next() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_flowing_and_caught_up_have_their_own_pace() {
        let mut keeper = ProgressKeeper::new(1, vec![("g".to_owned(), vec![0, 5])], INTERVAL_IDLE_BOUND);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(keeper.acknowledged(0, 1, 7));
        assert!(!keeper.acknowledged(0, 1, 3), "an offset that was there before");
        let first = keeper.due((Lsn(10), 1), true, at(0)).expect("the first one at once");
        assert_eq!((first.position, first.next_of("g", 1)), (Position::before(1, Lsn(10)), Some(8)));
        assert!(keeper.due((Lsn(11), 2), true, at(19)).is_none());
        assert!(keeper.due((Lsn(11), 2), true, at(20)).is_some());
        assert!(keeper.due((Lsn(12), 3), false, at(60)).is_none(), "under flow");
        assert!(keeper.due((Lsn(12), 3), false, at(121)).is_some());
        assert!(keeper.due((Lsn(12), 4), true, at(900)).is_none(), "idle");
        assert!(keeper.due((Lsn(12), 4), true, at(1200)).is_some(), "the server's time went on");
        assert!(keeper.due((Lsn(12), 4), true, at(9000)).is_none(), "the server is silent: stalled, not idle");
    }
}
