//! What is remembered of each product: exponentially weighted counts by several half-lives, and by hour of the week.

use super::ewma::Ewma;
use super::hour::{Hour, Sold};

/// Half-lives in hours, from an hour to four weeks: each about a threefold of the one before, then doubled.
pub const HALF_LIVES: [i64; 7] = [1, 3, 12, 48, 168, 336, 672];
/// The half-life to begin with, by its place: a week.
pub const FIRST: usize = 4;
/// Lines in the same hour of earlier weeks count half as much after so many hours: four weeks, the bank's longest.
const WEEKLY_HALF_LIFE: i64 = 672;
const WEEK: usize = 168;
/// A product whose lines together weigh less than this (2^-26) by the longest half-life, beside 1 of a line sold now, may be
/// forgotten: it has not sold for 26 of those half-lives, two years, so that what sells once a year is known for ever. By any
/// shorter half-life it weighs still less beside a line sold two years ago (a sum of powers is at most the power of the sum),
/// so whatever has sold since comes before it.
const FORGOTTEN: f64 = 1.0 / 67_108_864.0;

/// All columns.
#[derive(Clone)]
pub struct Bank {
    plain: Vec<Ewma>,
    weekly: Vec<Ewma>,
    /// The first hour in which each product sold.
    first: Vec<Hour>,
    products: usize,
}

impl Default for Bank {
    fn default() -> Self {
        let weekly = vec![Ewma::new(WEEKLY_HALF_LIFE); WEEK];
        Bank { plain: HALF_LIVES.map(Ewma::new).to_vec(), weekly, first: Vec::new(), products: 0 }
    }
}

impl Bank {
    /// How many values a product has.
    pub const COLUMNS: usize = HALF_LIVES.len() + WEEK;

    /// Takes the lines of an hour in.
    pub fn fold(&mut self, hour: Hour, lines: &[Sold]) {
        self.products = lines.iter().map(|sold| sold.product + 1).fold(self.products, usize::max);
        lines.iter().for_each(|sold| self.sold_in(sold.product, hour));
        self.plain.iter_mut().for_each(|ewma| ewma.fold(hour, lines));
        self.weekly[hour.of_week()].fold(hour, lines);
    }

    /// How many products it has values of.
    pub fn products(&self) -> usize {
        self.products
    }

    /// The count by one of [`HALF_LIVES`].
    pub fn plain(&self, at: usize) -> &Ewma {
        &self.plain[at]
    }

    /// Expected lines a product in `hour` by the half-life `at`.
    pub fn expect(&self, at: usize, hour: Hour, out: &mut Vec<f64>) {
        self.plain[at].expect(hour, self.products, out);
    }

    /// What a product sold in this hour of the week, in lines an hour but for one factor that all products share.
    pub fn expect_weekly(&self, hour: Hour, out: &mut Vec<f64>) {
        self.weekly[hour.of_week()].expect(hour, self.products, out);
    }

    /// The hour in which a product first sold; of one whose first is not known, long ago.
    pub fn first(&self, product: usize) -> Hour {
        self.first.get(product).copied().unwrap_or(Hour::EARLIEST)
    }

    /// A product sold in an hour, perhaps before all others that are known.
    pub fn sold_in(&mut self, product: usize, hour: Hour) {
        if self.first.len() <= product {
            self.first.resize(product + 1, Hour::LATEST);
        }
        self.first[product] = self.first[product].min(hour);
    }

    /// The values of a product, each with the hour to which it is scaled: by half-life, then by hour of the week.
    pub fn values(&self, product: usize) -> impl Iterator<Item = (Hour, f64)> + '_ {
        self.columns().map(move |ewma| ewma.value(product))
    }

    /// Puts kept values back, in the order of [`Bank::values`].
    pub fn restore(&mut self, product: usize, values: impl IntoIterator<Item = (usize, (Hour, f64))>) {
        self.products = self.products.max(product + 1);
        for (column, value) in values {
            let column = match column.checked_sub(self.plain.len()) {
                None => &mut self.plain[column],
                Some(hour) if hour < WEEK => &mut self.weekly[hour],
                Some(_) => continue,
            };
            column.restore(product, value);
        }
    }

    /// Forgets what has not sold for two years, as of `hour`, where at least `most` products are left; whether each was kept.
    /// `None`: nothing is to be forgotten.
    pub fn forget(&mut self, hour: Hour, most: usize) -> Option<Vec<bool>> {
        let longest = &self.plain[HALF_LIVES.len() - 1];
        let is_kept: Vec<bool> = (0..self.products).map(|product| longest.weight(product, hour) >= FORGOTTEN).collect();
        let kept = is_kept.iter().filter(|kept| **kept).count();
        if kept == self.products || kept < most {
            return None;
        }
        self.plain.iter_mut().chain(&mut self.weekly).for_each(|ewma| ewma.retain(&is_kept));
        let mut first = is_kept.iter();
        self.first.retain(|_| first.next().copied().unwrap_or(true));
        self.products = kept;
        Some(is_kept)
    }

    fn columns(&self) -> impl Iterator<Item = &Ewma> + '_ {
        self.plain.iter().chain(&self.weekly)
    }
}
