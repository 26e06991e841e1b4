//! What the forecast is measured against: three plain ways to rank products, as online as it is.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ewma::Ewma;
use super::hour::{Hour, Sold};
use super::online::LEAD_HOURS;
use super::products::Products;

/// Their names, in the order of [`Baselines::expected`].
pub const NAMES: [&str; 3] = ["all-time", "last-7-days", "ewma-7d"];
const WEEK_HOURS: i64 = 168;

/// The three.
#[derive(Default)]
pub struct Baselines {
    products: Products,
    waiting: VecDeque<(Hour, Vec<Sold>)>,
    week: VecDeque<(Hour, Vec<Sold>)>,
    all_time: Vec<f64>,
    last_week: Vec<f64>,
    fixed: Option<Ewma>,
}

impl Baselines {
    /// Lines of an hour, each by its number; they count once a lead has passed.
    pub fn sold(&mut self, hour: Hour, lines: Vec<Sold>) {
        self.waiting.push_back((hour, lines));
    }

    /// The number of a product.
    pub fn number(&mut self, name: &Arc<str>) -> usize {
        self.products.number_or_new(name)
    }

    /// It is `hour`: what is a lead older has been learnt.
    pub fn advance(&mut self, hour: Hour) {
        let known_before = hour.plus(-LEAD_HOURS);
        while self.waiting.front().is_some_and(|(hour, _)| *hour < known_before) {
            let Some((hour, lines)) = self.waiting.pop_front() else { break };
            add(&mut self.all_time, &lines, 1.0);
            add(&mut self.last_week, &lines, 1.0);
            self.fixed.get_or_insert_with(|| Ewma::new(WEEK_HOURS)).fold(hour, &lines);
            self.week.push_back((hour, lines));
        }
        while self.week.front().is_some_and(|(hour, _)| *hour < known_before.plus(-WEEK_HOURS)) {
            let Some((_, lines)) = self.week.pop_front() else { break };
            add(&mut self.last_week, &lines, -1.0);
        }
    }

    /// Hours whose lines are kept one by one: those of a week.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.waiting.len() + self.week.len()
    }

    /// Each baseline's values for `hour`, to which it was advanced.
    pub fn expected(&self, hour: Hour) -> [Vec<f64>; 3] {
        let mut fixed = Vec::new();
        if let Some(ewma) = &self.fixed {
            ewma.expect(hour, self.products.len(), &mut fixed);
        }
        [self.all_time.clone(), self.last_week.clone(), fixed]
    }
}

fn add(column: &mut Vec<f64>, lines: &[Sold], sign: f64) {
    for sold in lines {
        if column.len() <= sold.product {
            column.resize(sold.product + 1, 0.0);
        }
        column[sold.product] += sign * f64::from(sold.lines);
    }
}
