//! Exponentially weighted counts, a value a product, that need no work while time passes.

use super::hour::{Hour, Sold};

/// Weights grow by at most so many powers of two before all values are scaled down: far from the 1,023 that overflow.
const DOUBLINGS_MAX: i64 = 512;

/// Lines weighted by age: halved each `half_life` hours. A line weighs more the later it is, instead of all others less:
/// so nothing decays by rounding, and late lines find their right weight.
#[derive(Clone, Debug)]
pub struct Ewma {
    half_life: i64,
    /// The hour of weight 1, a multiple of the half-life: two columns differ by a power of two at most, exactly.
    base: Hour,
    values: Vec<f64>,
}

impl Ewma {
    /// An empty one, with a half-life in hours, at least 1.
    pub fn new(half_life: i64) -> Self {
        Ewma { half_life: half_life.max(1), base: Hour::new(0), values: Vec::new() }
    }

    /// Hours in which a line's weight halves.
    pub fn half_life(&self) -> i64 {
        self.half_life
    }

    /// Takes the lines of an hour in, whichever hour it is.
    pub fn fold(&mut self, hour: Hour, lines: &[Sold]) {
        self.rebase(hour);
        let weight = self.doublings(hour).exp2();
        for sold in lines {
            if self.values.len() <= sold.product {
                self.values.resize(sold.product + 1, 0.0);
            }
            self.values[sold.product] += f64::from(sold.lines) * weight;
        }
    }

    /// Expected lines of each of the first `products` products in `hour`: a product that sold `n` lines in every hour
    /// before it is expected to sell `n`.
    pub fn expect(&self, hour: Hour, products: usize, out: &mut Vec<f64>) {
        let scale = self.scale(hour);
        out.clear();
        out.extend(self.values.iter().take(products).map(|value| value * scale));
        out.resize(products, 0.0);
    }

    /// Hours that the average line is old.
    pub fn age(&self) -> f64 {
        self.half_life as f64 / std::f64::consts::LN_2
    }

    /// The value of a product and the hour to which it is scaled, to be kept.
    pub fn value(&self, product: usize) -> (Hour, f64) {
        (self.base, self.values.get(product).copied().unwrap_or_default())
    }

    /// Puts a kept value back.
    pub fn restore(&mut self, product: usize, (base, value): (Hour, f64)) {
        self.rebase(base);
        let value = value * self.doublings(base).exp2();
        if self.values.len() <= product {
            self.values.resize(product + 1, 0.0);
        }
        self.values[product] = if value.is_finite() && value > 0.0 { value } else { 0.0 };
    }

    /// The weight of all lines of a product in `hour`: one that is sold in it weighs 1.
    pub fn weight(&self, product: usize, hour: Hour) -> f64 {
        self.values.get(product).map_or(0.0, |value| value * (-self.doublings(hour)).exp2())
    }

    /// Only products for which `is_kept` is true remain, in their order.
    pub fn retain(&mut self, is_kept: &[bool]) {
        let mut kept = is_kept.iter();
        self.values.retain(|_| kept.next().copied().unwrap_or(true));
    }

    fn scale(&self, hour: Hour) -> f64 {
        ((1.0 / self.half_life as f64).exp2() - 1.0) * (-self.doublings(hour)).min(0.0).exp2()
    }

    fn doublings(&self, hour: Hour) -> f64 {
        hour.since(self.base) as f64 / self.half_life as f64
    }

    /// Makes room for a weight of that hour.
    fn rebase(&mut self, hour: Hour) {
        let steps = hour.since(self.base).div_euclid(self.half_life);
        if steps < DOUBLINGS_MAX && !self.values.is_empty() {
            return;
        }
        let scale = (-(steps as f64)).exp2();
        self.values.iter_mut().for_each(|value| *value *= scale);
        self.base = self.base.plus(steps.saturating_mul(self.half_life));
    }
}
