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
    let banks = touched.banks.iter().map(|product| record(BANK, product, Some(bank_value(forecast, product))));
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
    let places = read_head(head, &mut forecast, size)?;
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
    banks.sort_unstable_by_key(|(number, ..)| *number);
    if banks.iter().enumerate().any(|(at, (number, ..))| at != *number) {
        return Err(StateError::Odd("products are missing"));
    }
    for (number, _, first, values) in &banks {
        forecast.bank.sold_in(*number, *first);
        forecast.bank.restore(*number, values.iter().copied());
    }
    forecast.products = Products::numbered(banks.into_iter().map(|(_, name, ..)| name).collect());
    forecast.take_touched();
    Ok(Some((forecast, places)))
}

fn record(kind: u8, product: &str, value: Option<Vec<u8>>) -> StateRecord {
    let key = std::iter::once(kind).chain(product.bytes()).collect();
    StateRecord { key, value }
}

fn bank_value(forecast: &Forecast, product: &str) -> Vec<u8> {
    let number = forecast.products.number(product).unwrap_or_default();
    let mut writer = versioned();
    writer.long(number as i64);
    let values: Vec<_> = forecast.bank.values(number).enumerate().filter(|(_, (_, value))| *value > 0.0).collect();
    writer.long(values.len() as i64);
    for (column, (base, value)) in values {
        writer.long(column as i64);
        writer.long(base.get());
        writer.double(value);
    }
    writer.long(forecast.bank.first(number).get());
    writer.bytes
}

type BankRecord = (usize, Arc<str>, Hour, Vec<(usize, (Hour, f64))>);

fn read_bank(name: &Arc<str>, value: &[u8]) -> Result<BankRecord, StateError> {
    let mut reader = open(value)?;
    let number = size(&mut reader)?;
    let mut values = Vec::new();
    for _ in 0..size(&mut reader)?.min(Bank::COLUMNS) {
        values.push((size(&mut reader)?, (Hour::new(reader.long()?), reader.double()?)));
    }
    // Older records do not say it: those products have been there for long.
    let first = if reader.is_empty() { Hour::EARLIEST } else { Hour::new(reader.long()?) };
    Ok((number, Arc::clone(name), first, values))
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
    // Sums of another number of ways, or for a set of another size, are not comparable, and are left behind.
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
    writer.bytes
}

fn read_head(value: &[u8], forecast: &mut Forecast, wanted: usize) -> Result<Vec<Place>, StateError> {
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
    let same = ways == WAYS && size(&mut reader)? == wanted;
    if !same {
        return Ok(places);
    }
    let at = Hour::new(reader.long()?);
    let mut covered = [0.0; WAYS];
    for sum in &mut covered {
        *sum = Some(reader.double()?).filter(|sum| sum.is_finite()).ok_or(StateError::Odd("a sum is no number"))?;
    }
    forecast.choosers = vec![(wanted, Chooser::restored(at, covered))];
    for _ in 0..size(&mut reader)? {
        let hour = Hour::new(reader.long()?);
        let mut covered = [0; WAYS];
        for lines in &mut covered {
            *lines = u64::try_from(reader.long()?).map_err(|_| StateError::Odd("a count out of range"))?;
        }
        forecast.judged.push_back(Judged { hour, lines: Lines::new(), covered: vec![covered] });
    }
    Ok(places)
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
