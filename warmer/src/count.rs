//! Order lines by hour and product, over the last seven days of the shop's own time. Pure.

use std::collections::{BTreeMap, HashMap};

const HOUR: i64 = 3_600_000_000;
/// What is older counts no more.
const WINDOW: i64 = 7 * 24 * HOUR;

/// The counts, by the shop's time: the newest line tells what time it is there.
#[derive(Default)]
pub(crate) struct SevenDays {
    hours: BTreeMap<i64, HashMap<String, u32>>,
    newest: i64,
}

impl SevenDays {
    /// A line was sold, at the shop's time in microseconds since 1970.
    pub fn sold(&mut self, product: &str, placed_at: i64) {
        self.newest = self.newest.max(placed_at);
        if placed_at <= self.newest - WINDOW {
            return;
        }
        let hour = self.hours.entry(placed_at.div_euclid(HOUR)).or_default();
        match hour.get_mut(product) {
            Some(count) => *count += 1,
            None => drop(hour.insert(product.to_owned(), 1)),
        }
        let oldest = (self.newest - WINDOW).div_euclid(HOUR);
        self.hours = self.hours.split_off(&oldest);
    }

    /// The hour that comes, and each product's lines a hour of the window.
    pub fn scores(&self) -> (i64, HashMap<&str, f64>) {
        let mut scores: HashMap<&str, f64> = HashMap::new();
        for (product, count) in self.hours.values().flatten() {
            *scores.entry(product).or_default() += f64::from(*count) / (WINDOW / HOUR) as f64;
        }
        ((self.newest.div_euclid(HOUR) + 1) * HOUR, scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_week_counts_no_more() {
        let mut days = SevenDays::default();
        days.sold("old", HOUR);
        days.sold("new", 10 * HOUR);
        days.sold("new", 11 * HOUR);
        assert_eq!(days.scores().1.len(), 2);
        days.sold("new", WINDOW + 3 * HOUR);
        days.sold("late", 2 * HOUR);
        let (hour, scores) = days.scores();
        assert_eq!(hour, WINDOW + 4 * HOUR);
        assert_eq!(scores.keys().collect::<Vec<_>>(), [&"new"]);
        assert!((scores["new"] * 168.0 - 3.0).abs() < 1e-9);
    }
}
