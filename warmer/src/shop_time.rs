//! Which hour it is for the shop: the clock's, unless sales of long ago are played now. Pure.

use crate::forecast::hour::Hour;

/// A line whose own hour lies further back when it is committed is no sale of that moment: it is played, or imported.
const LIVE_HOURS: i64 = 2;
/// Where nothing has come for so long, nothing is played any more, microseconds.
const PLAYED_FOR: i64 = 2 * 3_600 * 1_000_000;

/// What lines say of the time. How late they reach us says nothing: only when they were committed, which is in the log with
/// them. So a backlog, and what is read of the past at a start, mean the same as when they were new.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ShopTime {
    newest: Option<Newest>,
    /// When the last line was committed, microseconds since 1970.
    last: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Newest {
    hour: Hour,
    /// One of its lines was committed in its own time.
    is_live: bool,
}

impl ShopTime {
    /// Something was asked for in `hour`, and committed at `committed_at`, microseconds since 1970. What is older than the
    /// newest says nothing, so that history may be imported while the shop sells.
    pub fn came(&mut self, hour: Hour, committed_at: i64) {
        self.last = self.last.max(committed_at);
        let is_live = Hour::of_micros(committed_at).since(hour) <= LIVE_HOURS;
        match &mut self.newest {
            Some(newest) if hour < newest.hour => {}
            Some(newest) if hour == newest.hour => newest.is_live |= is_live,
            newest => *newest = Some(Newest { hour, is_live }),
        }
    }

    /// The hour of the sales that are played, where they are: the newest.
    pub fn played(&self, now_micros: i64) -> Option<Hour> {
        let Newest { hour, is_live } = self.newest?;
        (!is_live && now_micros.saturating_sub(self.last) <= PLAYED_FOR).then_some(hour)
    }

    /// The hour that it is.
    pub fn hour(&self, now_micros: i64) -> Hour {
        self.played(now_micros).unwrap_or_else(|| Hour::of_micros(now_micros))
    }

    /// What is to be kept: the newest hour, whether it was live, and when the last line came; `None` before the first.
    pub fn kept(&self) -> Option<(Hour, bool, i64)> {
        self.newest.map(|Newest { hour, is_live }| (hour, is_live, self.last))
    }

    /// Goes on from what was kept.
    pub fn restored(hour: Hour, is_live: bool, last: i64) -> Self {
        ShopTime { newest: Some(Newest { hour, is_live }), last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 400_000;

    fn at(hour: i64) -> i64 {
        Hour::new(NOW + hour).micros() + 1
    }

    /// Lines, each an hour and the hour in which it was committed; what hour it is then at `now`, all beside one hour.
    #[track_caller]
    fn check(lines: &[(i64, i64)], now: i64, expected: i64) {
        let mut time = ShopTime::default();
        lines.iter().for_each(|(hour, committed)| time.came(Hour::new(NOW + hour), at(*committed)));
        assert_eq!(time.hour(at(now)), Hour::new(NOW + expected), "{lines:?} at {now}");
        let kept = time.kept().map_or(ShopTime::default(), |(hour, live, last)| ShopTime::restored(hour, live, last));
        assert_eq!(kept.hour(at(now)), time.hour(at(now)), "kept and gone on with");
    }

    #[test]
    fn in_a_quiet_night_time_goes_on() {
        check(&[], 0, 0);
        check(&[(0, 0)], 0, 0);
        check(&[(0, 0)], 9, 9);
        check(&[(-2, 0)], 1, 1);
    }

    #[test]
    fn a_trace_that_is_played_has_its_own_time() {
        check(&[(-9_000, 0), (-8_999, 0)], 0, -8_999);
        check(&[(-9_000, 0), (-8_999, 0)], 1, -8_999);
        check(&[(-9_000, 0), (-8_999, 0)], 5, 5);
        check(&[(-9_000, 0), (-8_999, 5)], 5, -8_999);
    }

    #[test]
    fn history_that_is_imported_moves_no_clock() {
        check(&[(0, 0), (-9_000, 0)], 0, 0);
        check(&[(0, 0), (-9_000, 5)], 5, 5);
        check(&[(-9_000, 0), (0, 0)], 0, 0);
        check(&[(-3, 0), (-3, -3)], 0, 0);
    }

    #[test]
    fn what_comes_in_late_was_live_all_the_same() {
        check(&[(-5, -5), (-4, -4)], 0, 0);
    }
}
