//! The state as records of a compacted topic, each of bounded size: a head, and two records a product.
//!
//! The head says up to where the log has been counted; it is written in one transaction with the products that changed,
//! so that no line is counted twice or left out, whenever the process dies.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_schemas::avro::{AvroError, Reader, Writer};
use lockstep_schemas::position::Position;

use super::bank::Bank;
use super::chooser::{Chooser, WAYS};
use super::hour::Hour;
use super::online::{Forecast, Judged, Lines, Touched};
use super::products::Products;
use crate::shop_time::ShopTime;

/// The form of all records. Another one is not read: the forecast then learns anew from what the log still holds.
const VERSION: i64 = 1;
const HEAD: &[u8] = b"head";
/// What is remembered of a product.
const BANK: u8 = b'b';
/// A product's lines of hours not yet learnt from.
const LINES: u8 = b'l';

/// A record of the topic; without a value it ends what the key said.
#[derive(Clone, Debug, PartialEq)]
pub struct StateRecord {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

/// How far one partition has been counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// The offset of the next record.
    pub next: i64,
    /// The newest change counted: what comes again is older, or the same.
    pub newest: Option<Position>,
}

/// Why state can't be gone on with.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum StateError {
    /// Records that are not of our form.
    #[error(transparent)]
    Form(#[from] AvroError),
    /// Another version's.
    #[error("it is of version {0}, not {VERSION}")]
    Version(i64),
    /// Something that does not fit together.
    #[error("{0}")]
    Odd(&'static str),
}

/// Records of all that was touched, and the head.
pub fn changes(forecast: &Forecast, touched: &Touched, places: &[Place]) -> Vec<StateRecord> {
    let banks = touched.banks.iter().map(|product| record(BANK, product, bank_value(forecast, product)));
    let lines = touched.lines.iter().map(|product| record(LINES, product, lines_value(forecast, product)));
    let head = StateRecord { key: HEAD.to_vec(), value: Some(head_value(forecast, places)) };
    banks.chain(lines).chain([head]).collect()
}

/// The forecast and the places that the newest records say; `None` without a head: nothing was ever kept.
pub fn restore(
    records: &BTreeMap<Vec<u8>, Vec<u8>>,
    size: usize,
) -> Result<Option<(Forecast, Vec<Place>)>, StateError> {
    let Some(head) = records.get(HEAD) else { return Ok(None) };
    let mut forecast = Forecast::new(&[size]);
    let (places, products) = read_head(head, &mut forecast, size)?;
    let mut banks = Vec::new();
    for (key, value) in records {
        let Some((kind, name)) = key.split_first().filter(|_| key != HEAD) else { continue };
        let name: Arc<str> = std::str::from_utf8(name).map_err(|_| StateError::Odd("a product is not UTF-8"))?.into();
        match *kind {
            BANK => banks.push(read_bank(&name, value)?),
            LINES => read_lines(&name, value, &mut forecast)?,
            _ => return Err(StateError::Odd("a key of an unknown kind")),
        }
    }
    banks.sort_unstable_by_key(|(ordinal, ..)| *ordinal);
    if banks.windows(2).any(|two| two[0].0 == two[1].0) {
        return Err(StateError::Odd("two products have one place"));
    }
    // Older heads do not say how many there are: those products have no gaps between them.
    let wanted = products.unwrap_or_else(|| banks.last().map_or(0, |(ordinal, ..)| ordinal.saturating_add(1)));
    if banks.len() != wanted {
        return Err(StateError::Odd("products are missing"));
    }
    for (number, (_, _, first, values)) in banks.iter().enumerate() {
        forecast.bank.sold_in(number, *first);
        forecast.bank.restore(number, values.iter().copied());
    }
    forecast.products = Products::ordered(banks.into_iter().map(|(ordinal, name, ..)| (ordinal, name)).collect());
    forecast.take_touched();
    Ok(Some((forecast, places)))
}

fn record(kind: u8, product: &str, value: Option<Vec<u8>>) -> StateRecord {
    let key = std::iter::once(kind).chain(product.bytes()).collect();
    StateRecord { key, value }
}

/// `None`: the product has been forgotten.
fn bank_value(forecast: &Forecast, product: &str) -> Option<Vec<u8>> {
    let number = forecast.products.number(product)?;
    let mut writer = versioned();
    writer.long(forecast.products.ordinal(number) as i64);
    let values: Vec<_> = forecast.bank.values(number).enumerate().filter(|(_, (_, value))| *value > 0.0).collect();
    writer.long(values.len() as i64);
    for (column, (base, value)) in values {
        writer.long(column as i64);
        writer.long(base.get());
        writer.double(value);
    }
    writer.long(forecast.bank.first(number).get());
    Some(writer.bytes)
}

type BankRecord = (usize, Arc<str>, Hour, Vec<(usize, (Hour, f64))>);

fn read_bank(name: &Arc<str>, value: &[u8]) -> Result<BankRecord, StateError> {
    let mut reader = open(value)?;
    let ordinal = size(&mut reader)?;
    let mut values = Vec::new();
    for _ in 0..size(&mut reader)?.min(Bank::COLUMNS) {
        values.push((size(&mut reader)?, (Hour::new(reader.long()?), reader.double()?)));
    }
    // Older records do not say it: those products have been there for long.
    let first = if reader.is_empty() { Hour::EARLIEST } else { Hour::new(reader.long()?) };
    Ok((ordinal, Arc::clone(name), first, values))
}

fn lines_value(forecast: &Forecast, product: &str) -> Option<Vec<u8>> {
    let judged = forecast.judged.iter().map(|judged| (judged.hour, &judged.lines));
    let hours = judged.chain(forecast.open.iter().map(|(hour, lines)| (*hour, lines)));
    let counts: Vec<(Hour, u32)> =
        hours.filter_map(|(hour, lines)| lines.get(product).map(|count| (hour, *count))).collect();
    if counts.is_empty() {
        return None;
    }
    let mut writer = versioned();
    writer.long(counts.len() as i64);
    for (hour, count) in counts {
        writer.long(hour.get());
        writer.long(count.into());
    }
    Some(writer.bytes)
}

fn read_lines(name: &Arc<str>, value: &[u8], forecast: &mut Forecast) -> Result<(), StateError> {
    let mut reader = open(value)?;
    for _ in 0..size(&mut reader)? {
        let hour = Hour::new(reader.long()?);
        let count = u32::try_from(reader.long()?).map_err(|_| StateError::Odd("a count out of range"))?;
        forecast.sold_many(hour, Lines::from([(Arc::clone(name), count)]));
    }
    Ok(())
}

fn head_value(forecast: &Forecast, places: &[Place]) -> Vec<u8> {
    let mut writer = versioned();
    writer.long(places.len() as i64);
    for place in places {
        writer.long(place.next);
        writer.blob(place.newest.map(|position| position.to_string()).unwrap_or_default().as_bytes());
    }
    writer.long(forecast.over.get());
    writer.long(WAYS as i64);
    let (size, chooser) = &forecast.choosers[0];
    writer.long(*size as i64);
    let (at, covered) = chooser.kept();
    writer.long(at.get());
    covered.iter().for_each(|sum| writer.double(*sum));
    writer.long(forecast.judged.len() as i64);
    for judged in &forecast.judged {
        writer.long(judged.hour.get());
        judged.covered[0].iter().for_each(|lines| writer.long(*lines as i64));
    }
    writer.long(forecast.products.len() as i64);
    writer.long(forecast.looked_through);
    let time = forecast.time.kept();
    writer.long(i64::from(time.is_some()));
    if let Some((newest, is_live, last)) = time {
        writer.long(newest.get());
        writer.long(i64::from(is_live));
        writer.long(last);
    }
    writer.bytes
}

/// The places, and how many products are remembered, where it says so.
fn read_head(value: &[u8], forecast: &mut Forecast, wanted: usize) -> Result<(Vec<Place>, Option<usize>), StateError> {
    let mut reader = open(value)?;
    let mut places = Vec::new();
    for _ in 0..size(&mut reader)? {
        let (next, newest) = (reader.long()?, reader.text()?);
        let newest = match newest {
            "" => None,
            text => Some(text.parse().map_err(|_| StateError::Odd("a position out of form"))?),
        };
        places.push(Place { next, newest });
    }
    forecast.over = Hour::new(reader.long()?);
    let ways = size(&mut reader)?;
    // Sums of another number of ways, or for a set of another size, are not comparable, and are left behind.
    let is_same = size(&mut reader)? == wanted && ways == WAYS;
    let at = Hour::new(reader.long()?);
    let covered = row(ways, || {
        let sum = reader.double()?;
        Some(sum).filter(|sum| sum.is_finite()).ok_or(StateError::Odd("a sum is no number"))
    })?;
    if let Some(covered) = covered.filter(|_| is_same) {
        forecast.choosers = vec![(wanted, Chooser::restored(at, covered))];
    }
    for _ in 0..size(&mut reader)? {
        let hour = Hour::new(reader.long()?);
        let covered = row(ways, || u64::try_from(reader.long()?).map_err(|_| StateError::Odd("a count out of range")))?;
        if let Some(covered) = covered.filter(|_| is_same) {
            forecast.judged.push_back(Judged { hour, lines: Lines::new(), covered: vec![covered] });
        }
    }
    // Older heads end here: nothing had been forgotten, and what hour it was is for the next lines to say.
    if reader.is_empty() {
        return Ok((places, None));
    }
    let products = size(&mut reader)?;
    forecast.looked_through = reader.long()?;
    if reader.long()? != 0 {
        forecast.time = ShopTime::restored(Hour::new(reader.long()?), reader.long()? != 0, reader.long()?);
    }
    Ok((places, Some(products)))
}

/// Reads a value of each way; `None` where there are not as many ways as ours.
fn row<T: Copy + Default>(
    ways: usize,
    mut read: impl FnMut() -> Result<T, StateError>,
) -> Result<Option<[T; WAYS]>, StateError> {
    let mut values = [T::default(); WAYS];
    for at in 0..ways {
        let value = read()?;
        if let Some(own) = values.get_mut(at) {
            *own = value;
        }
    }
    Ok((ways == WAYS).then_some(values))
}

fn versioned() -> Writer {
    let mut writer = Writer::default();
    writer.long(VERSION);
    writer
}

fn open(value: &[u8]) -> Result<Reader<'_>, StateError> {
    let mut reader = Reader::new(value);
    match reader.long()? {
        VERSION => Ok(reader),
        other => Err(StateError::Version(other)),
    }
}

fn size(reader: &mut Reader<'_>) -> Result<usize, StateError> {
    usize::try_from(reader.long()?).map_err(|_| StateError::Odd("a size out of range"))
}
