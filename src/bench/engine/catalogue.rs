//! What the engine is given: a policy with one view on each tier, and changes of eight columns.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use lockstep_process::clock::now_micros;
use lockstep_schemas::change::{Cell, Change, Op, Row};
use lockstep_schemas::policy::{self, Policy};
use lockstep_schemas::position::{Lsn, Position};

pub(super) const GROUP: &str = "bench";
pub(super) const VIEWS: [&str; 2] = ["bench_all", "bench_hot"];
pub(super) const TABLE: &str = "public.bench_products";
const COLUMNS: [&str; 8] =
    ["product_id", "name", "brand", "category", "colour", "price_pence", "stock", "weight_grams"];

/// The group with a view on L2 and, for the whole chain, another on L1: both hold every product. Beside the one on L1, L2's
/// lacks a column: so neither is filled through the other, and `warm` fills both.
fn group(tiers: &[&str]) -> String {
    let mut text = format!("[groups.{GROUP}]\nentity_key = \"product_id\"\ntables = [\"{TABLE}\"]\n");
    for (tier, view) in tiers.iter().zip(VIEWS) {
        let columns = if tiers.len() > 1 && *tier == "l2" { &COLUMNS[..7] } else { &COLUMNS[..] };
        text += &format!(
            "[views.{view}]\ngroup = \"{GROUP}\"\ntiers = [\"{tier}\"]\nkey = \"{view}:{{product_id}}\"\nttl = \"2h\"\n\
             [[views.{view}.sources]]\ntable = \"{TABLE}\"\ncolumns = {columns:?}\n"
        );
    }
    text
}

/// L2 alone.
pub(super) fn l2_only() -> Result<Policy> {
    Policy::parse(&group(&["l2"])).context("the bench's policy")
}

/// Both tiers, beside the demo's shop, so that every role has what it needs.
pub(super) fn both_tiers() -> String {
    format!("{}\n{}", policy::DEFAULT, group(&["l2", "l1"]))
}

/// Makes changes of one table, each later than the one before.
pub(super) struct Changes {
    table: Arc<str>,
    columns: Arc<[Arc<str>]>,
    /// When the first was committed, microseconds since 1970; the others came one a microsecond.
    began: i64,
    made: u64,
}

impl Changes {
    pub fn new() -> Self {
        let columns = COLUMNS.iter().map(|name| Arc::from(*name)).collect();
        Changes { table: TABLE.into(), columns, began: now_micros(), made: 0 }
    }

    /// An update of a product, in a transaction of its own.
    pub fn next(&mut self, product: u32) -> Change {
        self.made += 1;
        let cells = values(product, self.made).into_iter().map(|text| Cell::Value(text.into())).collect();
        Change {
            position: Position { epoch: 1, lsn: Lsn(self.made), ordinal: 1 },
            xid: self.made as u32,
            committed_at: self.began + self.made as i64,
            table: self.table.clone(),
            op: Op::Update,
            before: None,
            after: Some(Row::new(self.columns.clone(), cells)),
            incomplete: false,
        }
    }
}

fn values(product: u32, number: u64) -> Vec<String> {
    vec![
        product.to_string(),
        format!("Product number {product}"),
        format!("Brand {}", product % 300),
        format!("Category {}", product % 40),
        "blue".to_owned(),
        (number % 5_000).to_string(),
        (number % 90).to_string(),
        (product % 2_000).to_string(),
    ]
}

/// Chooses products as a shop's readers and buyers do: the n-th by popularity with a weight of 1 / n^1.1.
pub(super) struct Zipf {
    /// The sum of the weights up to each.
    up_to: Vec<f64>,
}

const EXPONENT: f64 = 1.1;
/// Prime, so that the popular ones lie anywhere among the products.
const STRIDE: u64 = 7_919;

impl Zipf {
    pub fn of(products: u32) -> Self {
        let mut sum = 0.0;
        let weights = (1..=products).map(|rank| f64::from(rank).powf(-EXPONENT));
        let up_to = weights.map(|weight| {
            sum += weight;
            sum
        });
        Zipf { up_to: up_to.collect() }
    }

    pub fn choose(&self) -> u32 {
        let at = fastrand::f64() * self.up_to.last().copied().unwrap_or(0.0);
        let rank = self.up_to.partition_point(|sum| *sum < at) as u64;
        (rank * STRIDE % self.up_to.len() as u64) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policies_are_right() {
        l2_only().expect("L2's policy");
        Policy::parse(&both_tiers()).expect("both tiers' policy");
    }

    #[test]
    fn the_first_is_chosen_most_often() {
        let zipf = Zipf::of(1_000);
        let first = (0..10_000).filter(|_| zipf.choose() == 1).count();
        // Its share is 1 of 5.6; a quarter off that is many standard deviations.
        assert!((1_300..2_300).contains(&first), "{first}");
    }
}
