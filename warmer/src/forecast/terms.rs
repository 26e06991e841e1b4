//! Ways to expect from the bank: as it is, or with a term on top.

use super::bank::{Bank, HALF_LIVES};
use super::hour::Hour;

/// Expected lines a product, made from the bank by one of its half-lives. Never negative, never without a number.
pub trait Term: Send + Sync {
    /// What it is called behind the half-life's name.
    fn name(&self) -> &'static str;
    /// Expected lines of each product in `hour`; `room` is scratch space.
    fn expect(&self, bank: &Bank, half_life: usize, hour: Hour, out: &mut Vec<f64>, room: &mut Vec<f64>);
}

/// What can be put on top of the best half-life; each is used only while it does better than the half-life alone.
pub const TERMS: [&dyn Term; 3] = [&Trend, &HourOfWeek, &Young];

/// What sells more and more goes on doing so: the line through the averages of this half-life and the next one, each
/// as old as its average line, drawn on to the hour.
pub struct Trend;

impl Term for Trend {
    fn name(&self) -> &'static str {
        "trend"
    }

    fn expect(&self, bank: &Bank, half_life: usize, hour: Hour, out: &mut Vec<f64>, room: &mut Vec<f64>) {
        let short = half_life.min(HALF_LIVES.len() - 2);
        let (young, old) = (bank.plain(short).age(), bank.plain(short + 1).age());
        let reach = young / (old - young);
        bank.expect(short, hour, out);
        bank.expect(short + 1, hour, room);
        for (level, older) in out.iter_mut().zip(room.iter()) {
            *level = (*level + (*level - older) * reach).max(0.0);
        }
    }
}

/// What sells in this hour of the week: half the product's own habit, half what the hour does to all products.
pub struct HourOfWeek;

impl Term for HourOfWeek {
    fn name(&self) -> &'static str {
        "hour-of-week"
    }

    fn expect(&self, bank: &Bank, half_life: usize, hour: Hour, out: &mut Vec<f64>, room: &mut Vec<f64>) {
        bank.expect(half_life, hour, out);
        bank.expect_weekly(hour, room);
        let (all, weekly) = (out.iter().sum::<f64>(), room.iter().sum::<f64>());
        // An hour in which nothing was ever sold says nothing about products.
        let scale = all / weekly;
        if !scale.is_finite() {
            return;
        }
        for (level, habit) in out.iter_mut().zip(room.iter()) {
            *level = (*level + habit * scale) / 2.0;
        }
    }
}

/// What has not been there for long has had less time to sell: its count is set against the time that it had.
pub struct Young;

/// The part of a count's full time that each product is taken to have had in any case: of a day's sales nothing is certain.
const HAD_MIN: f64 = 0.1;

impl Term for Young {
    fn name(&self) -> &'static str {
        "young"
    }

    fn expect(&self, bank: &Bank, half_life: usize, hour: Hour, out: &mut Vec<f64>, _room: &mut Vec<f64>) {
        bank.expect(half_life, hour, out);
        for (product, level) in out.iter_mut().enumerate() {
            let hours = hour.since(bank.first(product)).max(1) as f64;
            let had = 1.0 - (-hours / HALF_LIVES[half_life] as f64).exp2();
            *level *= (1.0 + HAD_MIN) / (had + HAD_MIN);
        }
    }
}
