//! A real shop's sales, read from the files that are built in: what the demo's shop sells, and in which order.

use crate::commands::trace::SALES;
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use jiff::{civil::DateTime, tz::TimeZone};
use serde::Deserialize;
use std::collections::HashMap;

const CATALOGUE: &[u8] = include_bytes!("../../data/online-retail-ii-catalogue.csv.gz");

/// The seven days from here are the history that the forecast learns from.
const HISTORY_FROM: &str = "2010-10-25T00:00:00";
/// The replay begins here: busy days, four weeks before Christmas sales peak.
const REPLAY_FROM: &str = "2010-11-01T00:00:00";

/// The products of the shop and its baskets in order of time.
pub struct Trace {
    /// Every product that was ever sold.
    pub products: Vec<Product>,
    baskets: Vec<Basket>,
    replay_from: usize,
}

/// A product as the catalogue has it.
#[derive(Debug, Clone, Deserialize)]
pub struct Product {
    /// The stock code.
    pub product_id: String,
    /// Its name, upper case.
    pub name: String,
    /// The price of its first sale, in pence.
    #[serde(rename = "unit_price_pence")]
    pub price_pence: i32,
}

/// What a basket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An invoice.
    Purchase,
    /// A credit note: goods that came back.
    Cancel,
}

/// One invoice or credit note.
#[derive(Debug)]
pub struct Basket {
    /// Seconds since 1970, the shop's local time taken as UTC.
    pub placed_at_s: i64,
    /// Invoice or credit note.
    pub kind: Kind,
    /// At least one.
    pub lines: Vec<Line>,
}

/// One line of a basket.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Index into [`Trace::products`].
    pub product: usize,
    /// Units, above 0.
    pub quantity: i32,
    /// The price of one unit on this line, in pence.
    pub price_pence: i32,
}

#[derive(Deserialize)]
struct Row<'a> {
    ts: &'a str,
    product_id: &'a str,
    kind: &'a str,
    quantity: i32,
    unit_price_pence: i32,
    basket: u32,
}

impl Trace {
    /// Reads both files: about a second of work, so not for an async task.
    pub fn read() -> Result<Self> {
        let products = read_catalogue().context("read the catalogue")?;
        let baskets = read_baskets(&products).context("read the sales")?;
        let replay_from_s = seconds(REPLAY_FROM)?;
        let replay_from = baskets.partition_point(|basket| basket.placed_at_s < replay_from_s);
        anyhow::ensure!(replay_from > 0 && replay_from < baskets.len(), "the sales do not cover {REPLAY_FROM}");
        Ok(Self { products, baskets, replay_from })
    }

    /// The same trace in baskets of at most so many lines: an even load. A real basket of 600 lines is a burst of 1,300
    /// changes in one commit.
    pub fn in_portions(&self, lines_max: usize) -> Self {
        let portions = |basket: &Basket| -> Vec<Basket> {
            let (placed_at_s, kind) = (basket.placed_at_s, basket.kind);
            basket.lines.chunks(lines_max).map(|lines| Basket { placed_at_s, kind, lines: lines.to_vec() }).collect()
        };
        let history: Vec<Basket> = self.history().iter().flat_map(portions).collect();
        let replay = self.baskets[self.replay_from..].iter().flat_map(portions);
        let replay_from = history.len();
        Self { products: self.products.clone(), baskets: history.into_iter().chain(replay).collect(), replay_from }
    }

    /// The baskets before the replay.
    pub fn history(&self) -> &[Basket] {
        &self.baskets[..self.replay_from]
    }

    /// The `turn`th basket of the replay; after the last the first comes again.
    pub fn basket(&self, turn: usize) -> &Basket {
        let replay = &self.baskets[self.replay_from..];
        &replay[turn % replay.len()]
    }

    /// The product's id on a line.
    pub fn product_id(&self, line: &Line) -> &str {
        &self.products[line.product].product_id
    }
}

fn read_catalogue() -> Result<Vec<Product>> {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(CATALOGUE));
    Ok(reader.deserialize().collect::<Result<_, _>>()?)
}

/// Lines of products that were never sold (14, in credit notes only) are left out.
fn read_baskets(products: &[Product]) -> Result<Vec<Basket>> {
    let index: HashMap<&str, usize> =
        products.iter().enumerate().map(|(at, product)| (product.product_id.as_str(), at)).collect();
    let mut reader = csv::Reader::from_reader(GzDecoder::new(SALES));
    let headers = reader.headers()?.clone();
    let mut record = csv::StringRecord::new();
    let mut baskets: Vec<Basket> = Vec::new();
    let mut open = None;
    while reader.read_record(&mut record)? {
        // The rows are sorted by time, and the time is fixed-width text.
        if record.get(0).is_none_or(|ts| ts < HISTORY_FROM) {
            continue;
        }
        let row: Row = record.deserialize(Some(&headers))?;
        let Some(&product) = index.get(row.product_id) else {
            continue;
        };
        let line = Line { product, quantity: row.quantity, price_pence: row.unit_price_pence };
        match baskets.last_mut() {
            Some(basket) if open == Some(row.basket) => basket.lines.push(line),
            _ => {
                open = Some(row.basket);
                let kind = if row.kind == "cancel" { Kind::Cancel } else { Kind::Purchase };
                baskets.push(Basket { placed_at_s: seconds(row.ts)?, kind, lines: vec![line] });
            }
        }
    }
    Ok(baskets)
}

fn seconds(local: &str) -> Result<i64> {
    let time: DateTime = local.parse().with_context(|| format!("not a time: {local}"))?;
    Ok(time.to_zoned_datetime(TimeZone::UTC)?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_whole_and_in_order() -> Result<()> {
        let trace = Trace::read()?;
        assert_eq!(trace.products.len(), 4_199);
        assert!(trace.history().len() > 500);
        assert_eq!(seconds("1970-01-02T00:00:01")?, 86_401);
        let all = trace.history().iter().chain([trace.basket(0), trace.basket(1)]);
        assert!(all.clone().zip(all.skip(1)).all(|(one, next)| one.placed_at_s <= next.placed_at_s));
        assert!(trace.basket(0).placed_at_s >= seconds(REPLAY_FROM)?);
        assert_eq!(trace.basket(0).lines.len(), trace.basket(trace.baskets.len() - trace.replay_from).lines.len());
        Ok(())
    }
}
