//! The shop's hours: how much is asked for in each hour of the week, and so which hours are busy. Pure.

use crate::forecast::hour::Hour;

const WEEK: usize = 168;
/// An hour is busy that has so many times the week's average.
const BUSY: f64 = 1.5;
/// What is known of fewer hours is no habit.
const HOURS_KNOWN_MIN: i64 = 24;

/// Where the shop stands between its busy hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is near, or nothing is known.
    Calm,
    /// The next hour is busy and this one is not: what can be done is done now.
    Ahead,
    /// Customers come first.
    Busy,
}

impl Phase {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Calm => "calm",
            Phase::Ahead => "ahead",
            Phase::Busy => "busy",
        }
    }
}

/// What each hour of the week is like: the average of its last occurrences, each half as heavy as the one after it.
#[derive(Debug)]
pub(crate) struct Hours {
    of_week: [Slot; WEEK],
    first: Option<Hour>,
    newest: Hour,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Its newest occurrence, and what was asked for in it.
    hour: Hour,
    asked: f64,
    /// The average of those before it.
    before: Option<f64>,
}

impl Default for Hours {
    fn default() -> Self {
        let slot = Slot { hour: Hour::EARLIEST, asked: 0.0, before: None };
        Hours { of_week: [slot; WEEK], first: None, newest: Hour::EARLIEST }
    }
}

impl Hours {
    /// Something was asked for so often in an hour.
    pub fn asked(&mut self, hour: Hour, count: f64) {
        self.first = Some(self.first.map_or(hour, |first| first.min(hour)));
        self.newest = self.newest.max(hour);
        let slot = &mut self.of_week[hour.of_week()];
        if hour > slot.hour {
            if slot.hour != Hour::EARLIEST {
                slot.before = Some(slot.before.map_or(slot.asked, |before| (before + slot.asked) / 2.0));
            }
            (slot.hour, slot.asked) = (hour, 0.0);
        }
        // A straggler of an earlier week changes no habit.
        if hour == slot.hour {
            slot.asked += count;
        }
    }

    /// The newest hour in which something was asked for.
    pub fn newest(&self) -> Option<Hour> {
        self.first.map(|_| self.newest)
    }

    /// Where the shop stands in an hour.
    pub fn phase(&self, now: Hour) -> Phase {
        let known = self.first.map_or(0, |first| now.since(first));
        if known < HOURS_KNOWN_MIN {
            return Phase::Calm;
        }
        let mean = (0..WEEK as i64).map(|ahead| self.expected(now.plus(ahead))).sum::<f64>() / WEEK as f64;
        let is_busy = |hour| mean > 0.0 && self.expected(hour) >= mean * BUSY;
        match (is_busy(now), is_busy(now.plus(1))) {
            (true, _) => Phase::Busy,
            (false, true) => Phase::Ahead,
            (false, false) => Phase::Calm,
        }
    }

    /// What has not occurred for a week has nobody asked for: the shop was closed. An hour that is under way says nothing yet.
    fn expected(&self, hour: Hour) -> f64 {
        let slot = &self.of_week[hour.of_week()];
        if slot.hour == self.newest || hour.since(slot.hour) > WEEK as i64 {
            return slot.before.unwrap_or(0.0) / if slot.hour == self.newest { 1.0 } else { 2.0 };
        }
        slot.before.map_or(slot.asked, |before| (before + slot.asked) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: i64 = 350_000 - (350_000 + 72) % 168;

    /// A shop that sells from nine to five, but for Sundays.
    fn weeks(weeks: i64) -> Hours {
        let mut hours = Hours::default();
        for hour in 0..weeks * 168 {
            let (day, of_day) = (hour / 24 % 7, hour % 24);
            if day < 6 && (9..17).contains(&of_day) {
                hours.asked(Hour::new(MONDAY + hour), 100.0);
            } else if of_day == 8 {
                hours.asked(Hour::new(MONDAY + hour), 5.0);
            }
        }
        hours
    }

    #[test]
    fn it_learns_when_the_shop_is_busy() {
        let hours = weeks(2);
        for (day, of_day, expected) in [
            (0, 3, Phase::Calm),
            (0, 7, Phase::Calm),
            (0, 8, Phase::Ahead),
            (0, 9, Phase::Busy),
            (0, 16, Phase::Busy),
            (0, 17, Phase::Calm),
            (6, 8, Phase::Calm),
            (6, 12, Phase::Calm),
        ] {
            let now = Hour::new(MONDAY + 2 * 168 + day * 24 + of_day);
            assert_eq!(hours.phase(now), expected, "day {day}, {of_day} o'clock");
        }
    }

    #[test]
    fn without_a_day_of_history_no_hour_is_special() {
        let mut hours = Hours::default();
        assert_eq!((hours.newest(), hours.phase(Hour::new(MONDAY))), (None, Phase::Calm));
        hours.asked(Hour::new(MONDAY), 100.0);
        assert_eq!(hours.phase(Hour::new(MONDAY + 5)), Phase::Calm);
    }

    #[test]
    fn a_habit_that_ends_is_forgotten() {
        let hours = weeks(1);
        let later = |weeks: i64| hours.phase(Hour::new(MONDAY + weeks * 168 + 9));
        assert_eq!(later(1), Phase::Busy);
        assert_eq!(later(4), Phase::Calm, "it has been closed for weeks");
    }
}
