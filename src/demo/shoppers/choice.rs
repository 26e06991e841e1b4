//! Which product a shopper looks at: mostly what is about to be bought, sometimes anything, now and then nothing.

use crate::demo::shop::Till;
use crate::demo::shop::load::{EXTRAS, extra_id};
use crate::demo::trace::Trace;
use std::sync::Arc;

/// Of a hundred looks, so many are at a product of the next few baskets ...
const BUYING_PERCENT: u32 = 80;
/// ... and so many at a product that comes and goes. The rest is at any product, popular ones more often.
const EXTRA_PERCENT: u32 = 1;
/// How far ahead shoppers look.
const BASKETS_AHEAD: usize = 8;

/// The shop window.
pub struct Choice {
    trace: Arc<Trace>,
    till: Arc<Till>,
    /// Products by sales of the history, most sold first, and the sum of the Zipf weights up to each.
    ranked: Vec<(usize, f64)>,
}

impl Choice {
    /// Ranks the products once.
    pub fn new(trace: Arc<Trace>, till: Arc<Till>) -> Self {
        let ranked = rank(&trace);
        Self { trace, till, ranked }
    }

    /// The product to look at now.
    pub fn next(&self) -> String {
        match fastrand::u32(..100) {
            percent if percent < EXTRA_PERCENT => extra_id(fastrand::usize(..EXTRAS)),
            percent if percent < EXTRA_PERCENT + BUYING_PERCENT => self.about_to_be_bought().to_owned(),
            _ => self.popular().to_owned(),
        }
    }

    fn about_to_be_bought(&self) -> &str {
        let basket = self.trace.basket(self.till.turn() + fastrand::usize(..BASKETS_AHEAD));
        self.trace.product_id(&basket.lines[fastrand::usize(..basket.lines.len())])
    }

    fn popular(&self) -> &str {
        let total = self.ranked.last().map_or(0.0, |(_, sum)| *sum);
        let drawn = fastrand::f64() * total;
        let rank = self.ranked.partition_point(|(_, sum)| *sum <= drawn).min(self.ranked.len() - 1);
        &self.trace.products[self.ranked[rank].0].product_id
    }
}

/// The weight of the product on rank n is 1/n.
fn rank(trace: &Trace) -> Vec<(usize, f64)> {
    let mut sales = vec![0u32; trace.products.len()];
    for line in trace.history().iter().flat_map(|basket| &basket.lines) {
        sales[line.product] += 1;
    }
    let mut products: Vec<usize> = (0..sales.len()).collect();
    products.sort_by_key(|product| std::cmp::Reverse(sales[*product]));
    let mut sum = 0.0;
    let weigh = |(index, product)| {
        sum += 1.0 / (index + 1) as f64;
        (product, sum)
    };
    products.into_iter().enumerate().map(weigh).collect()
}
