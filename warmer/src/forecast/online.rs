//! The forecast as it goes through time: lines in, expected lines out, nothing of what is to come.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::bank::Bank;
use super::chooser::{Chooser, WAYS, Way};
use super::cut::Cut;
use super::hour::{Hour, Sold};
use super::products::Products;
use super::terms::TERMS;
use crate::shop_time::ShopTime;

/// A set is fixed so many hours before the hour that it is for: what is judged then could have been warmed in time.
pub const LEAD_HOURS: i64 = 1;
const WEEK_HOURS: i64 = 168;
/// Nothing is forgotten below so many products for each place of the set: as many as are published.
const KEPT_FOR_A_PLACE: usize = 2;

/// Lines of one hour by product.
pub type Lines = HashMap<Arc<str>, u32>;

/// The state: a bank, and for each size of the set a chooser.
#[derive(Clone)]
pub struct Forecast {
    pub(super) products: Products,
    pub(super) bank: Bank,
    pub(super) choosers: Vec<(usize, Chooser)>,
    /// Hours that may still get lines.
    pub(super) open: BTreeMap<Hour, Lines>,
    /// Hours that are over and judged, but too young for the sets that are judged next.
    pub(super) judged: VecDeque<Judged>,
    /// Everything before it is over.
    pub(super) over: Hour,
    /// What has changed since it was last asked.
    pub(super) touched: Touched,
    /// What lines say of the time; only who tells it of them knows it.
    pub(super) time: ShopTime,
    /// The week in which products were last looked through for those to forget.
    pub(super) looked_through: i64,
    room: Room,
}

/// Products of which something has changed: what is remembered of them, or their lines of hours not yet learnt from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// In the bank.
    pub banks: HashSet<Arc<str>>,
    /// In open or judged hours.
    pub lines: HashSet<Arc<str>>,
}

/// An hour that is over, and what each way covered of it, a row for each chooser.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub hour: Hour,
    pub lines: Lines,
    pub covered: Vec<[u64; WAYS]>,
}

/// Scratch space.
#[derive(Clone, Default)]
struct Room {
    expected: Vec<f64>,
    other: Vec<f64>,
    bits: Vec<u64>,
}

impl Forecast {
    /// Knows nothing; will choose for sets of these sizes.
    pub fn new(sizes: &[usize]) -> Self {
        Forecast {
            products: Products::default(),
            bank: Bank::default(),
            choosers: sizes.iter().map(|size| (*size, Chooser::default())).collect(),
            open: BTreeMap::new(),
            judged: VecDeque::new(),
            over: Hour::EARLIEST,
            touched: Touched::default(),
            time: ShopTime::default(),
            looked_through: i64::MIN,
            room: Room::default(),
        }
    }

    /// A line was sold. One that comes when its hour is over counts all the same, but is not judged by.
    pub fn sold(&mut self, product: &str, hour: Hour) {
        let lines = self.lines_of(hour);
        if let Some(count) = lines.get_mut(product) {
            *count = count.saturating_add(1);
            if !self.touched.lines.contains(product) {
                self.touched.lines.insert(product.into());
            }
            return;
        }
        let product: Arc<str> = product.into();
        lines.insert(Arc::clone(&product), 1);
        self.touched.lines.insert(product);
    }

    /// Many lines of one hour, by product.
    pub fn sold_many(&mut self, hour: Hour, sold: Lines) {
        self.touched.lines.extend(sold.keys().cloned());
        let lines = self.lines_of(hour);
        if lines.is_empty() {
            *lines = sold;
            return;
        }
        for (product, more) in sold {
            let count = lines.entry(product).or_default();
            *count = count.saturating_add(more);
        }
    }

    /// All hours before `hour` are over: judges each, and learns from all that end a lead before `hour`.
    pub fn advance(&mut self, hour: Hour) {
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < hour) {
            let (over, lines) = entry.remove_entry();
            if over < self.over {
                self.fold(over, &lines);
                continue;
            }
            self.learn_before(over.plus(-LEAD_HOURS));
            self.look_through(over);
            let covered = self.judge(over, &lines);
            self.judged.push_back(Judged { hour: over, lines, covered });
            self.over = over.plus(1);
        }
        self.over = self.over.max(hour);
        self.learn_before(hour.plus(-LEAD_HOURS));
        self.look_through(hour);
    }

    /// Once a week forgets products that have not sold for two years. What is kept of them goes with the next round.
    fn look_through(&mut self, hour: Hour) {
        let week = hour.get().div_euclid(WEEK_HOURS);
        if week <= self.looked_through {
            return;
        }
        self.looked_through = week;
        let places = self.choosers.iter().map(|(size, _)| *size).max().unwrap_or_default();
        if let Some(is_kept) = self.bank.forget(Hour::new(week * WEEK_HOURS), places.saturating_mul(KEPT_FOR_A_PLACE)) {
            self.touched.banks.extend(self.products.retain(&is_kept));
        }
    }

    /// The way that is best now, of the chooser at that place.
    pub fn chosen(&self, chooser: usize) -> Way {
        self.choosers[chooser].1.chosen()
    }

    /// Expected lines of each product in `hour`, in the order of [`Forecast::products`], by all that has been learnt.
    pub fn expect(&mut self, way: Way, hour: Hour) -> &[f64] {
        let Room { expected, other, .. } = &mut self.room;
        expect(&self.bank, way, hour, expected, other);
        expected
    }

    /// The products, by number.
    pub fn products(&self) -> &Products {
        &self.products
    }

    /// The same with every line that has come, also of hours that are not over: what is known at this moment.
    pub fn with_all_lines(&self) -> Forecast {
        let mut all = self.clone();
        for Judged { hour, lines, .. } in &self.judged {
            all.fold(*hour, lines);
        }
        for (hour, lines) in &self.open {
            all.fold(*hour, lines);
        }
        all.judged.clear();
        all.open.clear();
        all
    }

    /// The newest hour that has a line.
    pub fn newest(&self) -> Option<Hour> {
        self.open.keys().next_back().copied().or_else(|| self.judged.back().map(|judged| judged.hour))
    }

    /// What has changed since this was asked last.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    fn lines_of(&mut self, hour: Hour) -> &mut Lines {
        match self.judged.iter_mut().find(|judged| judged.hour == hour) {
            Some(judged) => &mut judged.lines,
            None => self.open.entry(hour).or_default(),
        }
    }

    fn learn_before(&mut self, hour: Hour) {
        while self.judged.front().is_some_and(|judged| judged.hour < hour) {
            let Some(Judged { hour, lines, covered }) = self.judged.pop_front() else { return };
            for ((_, chooser), covered) in self.choosers.iter_mut().zip(&covered) {
                chooser.judge(hour, covered);
            }
            self.fold(hour, &lines);
        }
    }

    /// In the order of names, so that numbers don't depend on the order in which lines came.
    fn fold(&mut self, hour: Hour, lines: &Lines) {
        let mut named: Vec<(&Arc<str>, u32)> = lines.iter().map(|(name, count)| (name, *count)).collect();
        named.sort_unstable();
        let number = |(name, lines)| Sold { product: self.products.number_or_new(name), lines };
        let numbered: Vec<Sold> = named.into_iter().map(number).collect();
        self.bank.fold(hour, &numbered);
        self.touched.banks.extend(lines.keys().cloned());
        self.touched.lines.extend(lines.keys().cloned());
    }

    fn judge(&mut self, hour: Hour, lines: &Lines) -> Vec<[u64; WAYS]> {
        let known =
            |(name, lines): (&Arc<str>, &u32)| Some(Sold { product: self.products.number(name)?, lines: *lines });
        let sold: Vec<Sold> = lines.iter().filter_map(known).collect();
        let mut rows = vec![[0; WAYS]; self.choosers.len()];
        let Room { expected, other, bits } = &mut self.room;
        let mut last: Option<Way> = None;
        for at in 0..WAYS {
            for ((size, chooser), row) in self.choosers.iter().zip(&mut rows) {
                let way = chooser.ways()[at];
                if last.replace(way) != Some(way) {
                    expect(&self.bank, way, hour, expected, other);
                }
                row[at] = covered(expected, &Cut::of(expected, *size, bits), &sold);
            }
        }
        rows
    }
}

/// How many lines are of products within the cut.
pub fn covered(expected: &[f64], cut: &Cut, sold: &[Sold]) -> u64 {
    let within = |sold: &&Sold| expected.get(sold.product).is_some_and(|value| cut.keeps(sold.product, *value));
    sold.iter().filter(within).map(|sold| u64::from(sold.lines)).sum()
}

fn expect(bank: &Bank, way: Way, hour: Hour, out: &mut Vec<f64>, room: &mut Vec<f64>) {
    match way.term {
        None => bank.expect(way.half_life, hour, out),
        Some(term) => TERMS[term].expect(bank, way.half_life, hour, out, room),
    }
}
