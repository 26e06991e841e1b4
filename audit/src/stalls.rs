//! Which watermarks stand still although the source moves. Pure.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lockstep_schemas::position::Position;

/// A watermark that was passed by the source so long ago, and has not moved since, is stalled. In a quiet database one
/// follows within two seconds, the edge's one maximum response time later.
const STALL_AGE: Duration = Duration::from_secs(15);

/// How something that should follow the source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// It has come to where the source was a while ago: idle, or up to date.
    Follows,
    /// It has not, and moves.
    Behind,
    /// It has not, and does not move; or it has never been there.
    Stalled,
}

/// What was seen of the source and of those that follow it. Times are since any fixed moment.
#[derive(Debug, Default)]
pub struct Stalls {
    /// Where the source was, and when: the first is the newest that is older than the age of a stall.
    source: VecDeque<(Duration, Position)>,
    followers: HashMap<String, (Position, Duration)>,
}

impl Stalls {
    /// Takes a look at the source in. One that does not answer is not looked at: nobody can be late then.
    pub fn source_at(&mut self, now: Duration, position: Position) {
        self.source.push_back((now, position));
        while self.source.get(1).is_some_and(|(at, _)| *at + STALL_AGE <= now) {
            self.source.pop_front();
        }
    }

    /// Takes a look at a follower in: how it is doing.
    pub fn follower_at(&mut self, now: Duration, name: &str, position: Option<Position>) -> Pace {
        // One that is gone, or was never there, holds nothing.
        let position = position.unwrap_or(Position::LEAST);
        let known = self.followers.entry(name.to_owned()).or_insert((position, now));
        if known.0 != position {
            *known = (position, now);
        }
        let (_, since) = *known;
        let old = self.source.front().filter(|(at, _)| *at + STALL_AGE <= now);
        match old {
            Some((_, passed)) if position < *passed && since + STALL_AGE <= now => Pace::Stalled,
            Some((_, passed)) if position < *passed => Pace::Behind,
            _ => Pace::Follows,
        }
    }
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::position::Lsn;

    use super::*;

    fn at(lsn: u64) -> Position {
        Position::before(1, Lsn(lsn))
    }

    /// Looks every two seconds: at each, the source and a follower. The last verdict.
    fn play(looks: impl Iterator<Item = (u64, u64)>) -> Pace {
        let (mut stalls, mut last) = (Stalls::default(), Pace::Follows);
        for (second, (source, follower)) in (0..).step_by(2).zip(looks) {
            let now = Duration::from_secs(second);
            stalls.source_at(now, at(source));
            last = stalls.follower_at(now, "l2", Some(at(follower)));
        }
        last
    }

    #[test]
    fn idle_behind_and_stalled_differ() {
        assert_eq!(play((0..500).map(|_| (100, 100))), Pace::Follows, "idle for long");
        assert_eq!(play((0..500).map(|n| (n * 10, (n * 10u64).saturating_sub(5)))), Pace::Follows, "up to date");
        assert_eq!(play((0..20).map(|n| (1_000 + n, n))), Pace::Behind, "it works on a backlog");
        assert_eq!(play((0..10).map(|n| (100 + n, 100))), Pace::Stalled, "cut for 18 s");
        assert_eq!(play((0..7).map(|n| (100 + n, 100))), Pace::Follows, "cut for 12 s");
        // Cut while nothing happened; then something did, once.
        assert_eq!(play((0..40).map(|n| (if n < 30 { 100 } else { 200 }, 100))), Pace::Stalled);
        assert_eq!(play((0..34).map(|n| (if n < 30 { 100 } else { 200 }, 100))), Pace::Follows);
    }

    #[test]
    fn a_cut_stream_is_stalled_within_half_a_minute() {
        let first = (0..60).find(|n| play((0..*n).map(|n| (100 + n, 100))) == Pace::Stalled).expect("stalled");
        assert!(first * 2 < 30, "after {} s", first * 2);
    }

    #[test]
    fn nobody_is_late_where_the_source_is_away() {
        let mut stalls = Stalls::default();
        let look = |stalls: &mut Stalls, second| stalls.follower_at(Duration::from_secs(second), "l2", Some(at(1)));
        assert_eq!(look(&mut stalls, 0), Pace::Follows);
        assert_eq!(look(&mut stalls, 100), Pace::Follows);
        assert_eq!(stalls.follower_at(Duration::from_secs(101), "l1", None), Pace::Follows);
    }

    #[test]
    fn one_that_never_was_there_is_stalled() {
        let mut stalls = Stalls::default();
        let mut look = |second| {
            let now = Duration::from_secs(second);
            stalls.source_at(now, at(100 + second));
            stalls.follower_at(now, "l2", None)
        };
        assert_eq!((look(0), look(12)), (Pace::Follows, Pace::Follows), "it may be about to begin");
        assert_eq!(look(18), Pace::Stalled);
    }

    #[test]
    fn one_that_forgets_is_stalled_until_it_is_back() {
        let mut stalls = Stalls::default();
        let mut look = |second, follower: Option<u64>| {
            let now = Duration::from_secs(second);
            stalls.source_at(now, at(100));
            stalls.follower_at(now, "l2", follower.map(at))
        };
        assert_eq!((look(0, Some(100)), look(20, Some(100))), (Pace::Follows, Pace::Follows));
        assert_eq!((look(22, None), look(30, None), look(40, None)), (Pace::Behind, Pace::Behind, Pace::Stalled));
        assert_eq!(look(42, Some(100)), Pace::Follows);
    }
}
