//! The built-in sales as reads: each line of an invoice is a look at its product.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use lockstep_warmer::forecast::hour::Hour;

use crate::commands::trace::{Line, Trace};

/// All that is read.
pub(in crate::bench) struct Reads {
    pub products: BTreeSet<String>,
    /// What lies before, in order.
    pub before: Vec<(Hour, String)>,
    /// What counts, hour by hour.
    pub hours: BTreeMap<Hour, Vec<String>>,
}

pub(in crate::bench) fn of(from: Hour, to: Hour) -> Result<Reads> {
    let mut trace = Trace::built_in()?;
    let mut reads = Reads { products: BTreeSet::new(), before: Vec::new(), hours: BTreeMap::new() };
    while let Some(Line { hour, product }) = trace.next_purchase()? {
        if hour >= to {
            break;
        }
        reads.products.insert(product.to_owned());
        if hour < from {
            reads.before.push((hour, product.to_owned()));
        } else {
            reads.hours.entry(hour).or_default().push(product.to_owned());
        }
    }
    ensure!(!reads.hours.is_empty(), "no sales lie between --from and --to; choose them within {}", trace.span());
    Ok(reads)
}
