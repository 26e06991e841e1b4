//! How often copies were right, over a minute, an hour and thirty days. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Hours of the longest window.
const HOURS: u64 = 30 * 24;
const MINUTES: u64 = 60;
/// More nines than that nobody has checked for.
const NINES_MAX: f64 = 9.0;

/// Copies that were judged, and those of them that were wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The same as their rows, or wrong.
    pub checks: u64,
    /// Wrong.
    pub wrong: u64,
}

impl Checked {
    /// The part that was right; `None` where nothing was checked.
    pub fn ratio(&self) -> Option<f64> {
        (self.checks > 0).then(|| (self.checks - self.wrong.min(self.checks)) as f64 / self.checks as f64)
    }

    /// The same as a count of nines: 0.999 is 3. Where none was wrong it is what so many checks can tell.
    pub fn nines(&self) -> Option<f64> {
        let part = self.wrong.max(1) as f64 / self.checks.max(1) as f64;
        (self.checks > 0).then(|| (-part.log10()).clamp(0.0, NINES_MAX))
    }

    fn add(&mut self, other: Checked) {
        self.checks += other.checks;
        self.wrong += other.wrong;
    }
}

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// This minute and the one before.
    Minute,
    /// Sixty minutes.
    Hour,
    /// Thirty days.
    Month,
}

impl Window {
    /// All of them.
    pub const ALL: [Window; 3] = [Window::Minute, Window::Hour, Window::Month];

    /// `1m`, `1h`, `30d`.
    pub fn as_str(self) -> &'static str {
        match self {
            Window::Minute => "1m",
            Window::Hour => "1h",
            Window::Month => "30d",
        }
    }
}

/// What was checked in one minute or hour, by tier and view (`l2/product_all`).
pub type Slice = BTreeMap<String, Checked>;

/// A slice as a record: which minute or hour since 1970 it is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The minute; or the hour, where `is_hour`.
    pub at: u64,
    /// Whether it is an hour.
    pub is_hour: bool,
    /// What was checked.
    pub of: Slice,
}

/// All that is remembered: slices of this process, and those that were kept by others and earlier ones.
#[derive(Clone, Debug, Default)]
pub struct History {
    minutes: BTreeMap<u64, Slice>,
    hours: BTreeMap<u64, Slice>,
    kept_minutes: BTreeMap<u64, Slice>,
    kept_hours: BTreeMap<u64, Slice>,
}

impl History {
    /// Adds what was checked in a minute.
    pub fn add(&mut self, minute: u64, of: &str, checked: Checked) {
        for (slices, at) in [(&mut self.minutes, minute), (&mut self.hours, minute / MINUTES)] {
            slices.entry(at).or_default().entry(of.to_owned()).or_default().add(checked);
        }
        self.minutes = self.minutes.split_off(&(minute.saturating_sub(MINUTES)));
        self.hours = self.hours.split_off(&(minute / MINUTES).saturating_sub(HOURS));
    }

    /// Adds a record that an earlier process, or another one, has kept.
    pub fn restore(&mut self, record: &Record) {
        let slices = if record.is_hour { &mut self.kept_hours } else { &mut self.kept_minutes };
        let slice = slices.entry(record.at).or_default();
        for (of, checked) in &record.of {
            slice.entry(of.clone()).or_default().add(*checked);
        }
    }

    /// Takes over what others have kept.
    pub fn take_over(&mut self, kept: History) {
        self.kept_minutes = kept.kept_minutes;
        self.kept_hours = kept.kept_hours;
    }

    /// What this process is to keep now: its slices of a minute and of its hour; and of the minute before and its hour,
    /// whose last counts may not have been kept yet.
    pub fn records(&self, minute: u64) -> Vec<Record> {
        let before = minute.saturating_sub(1);
        let slices = |slices: &BTreeMap<u64, Slice>, from: u64, to: u64, is_hour| -> Vec<Record> {
            slices.range(from..=to).map(|(at, of)| Record { at: *at, is_hour, of: of.clone() }).collect()
        };
        let mut records = slices(&self.minutes, before, minute, false);
        records.extend(slices(&self.hours, before / MINUTES, minute / MINUTES, true));
        records
    }

    /// What was checked over a window that ends with a minute, by tier and view.
    pub fn over(&self, window: Window, minute: u64) -> Slice {
        let hour = minute / MINUTES;
        let (of, from, to) = match window {
            Window::Minute => ([&self.minutes, &self.kept_minutes], minute.saturating_sub(1), minute),
            Window::Hour => ([&self.minutes, &self.kept_minutes], (minute + 1).saturating_sub(MINUTES), minute),
            Window::Month => ([&self.hours, &self.kept_hours], (hour + 1).saturating_sub(HOURS), hour),
        };
        let mut all = Slice::new();
        for slice in of.into_iter().flat_map(|slices| slices.range(from..=to)).map(|(_, slice)| slice) {
            for (name, checked) in slice {
                all.entry(name.clone()).or_default().add(*checked);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(checks: u64, wrong: u64) -> Checked {
        Checked { checks, wrong }
    }

    #[test]
    fn nines_are_what_so_many_checks_can_tell() {
        let nines = |checks, wrong| checked(checks, wrong).nines().map(|nines| (nines * 100.0).round() / 100.0);
        assert_eq!((nines(0, 0), nines(1_000, 1), nines(1_000, 0)), (None, Some(3.0), Some(3.0)));
        assert_eq!((nines(1_000_000, 5), nines(10, 10)), (Some(5.3), Some(0.0)));
        assert_eq!(checked(4, 1).ratio(), Some(0.75));
    }

    #[test]
    fn windows_end_now_and_outlive_a_restart() {
        let (now, of) = (1_000_000, "l2/product_all");
        let mut first = History::default();
        first.add(now - 45_000, of, checked(7, 7));
        first.add(now - 90, of, checked(10, 1));
        first.add(now - 30, of, checked(100, 2));
        first.add(now, of, checked(1_000, 3));
        let over = |history: &History, window| history.over(window, now).get(of).copied();
        let expect = [Some(checked(1_000, 3)), Some(checked(1_100, 5)), Some(checked(1_110, 6))];
        assert_eq!(Window::ALL.map(|window| over(&first, window)), expect);

        let mut second = History::default();
        // Each was kept in the minute after it; of a slice that is kept again, the newer record counts.
        let mut kept = BTreeMap::new();
        for minute in [now - 89, now - 29, now] {
            kept.extend(first.records(minute).into_iter().map(|record| ((record.is_hour, record.at), record)));
        }
        kept.values().for_each(|record| second.restore(record));
        second.add(now, of, checked(5, 5));
        assert_eq!(over(&second, Window::Hour), Some(checked(1_105, 10)));
        assert_eq!(over(&second, Window::Month), Some(checked(1_115, 11)));
    }
}
