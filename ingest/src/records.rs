//! The records of one change: an envelope, and what Debezium puts beside it (docs/envelope.md).

use lockstep_schemas::change::Op;
use lockstep_schemas::envelope::{Datum, Stamp, TableColumn};
use lockstep_schemas::partition::partition_of;

use crate::pgoutput::{Field, OldTuple, Tuple};
use crate::tables::PublishedTable;

/// A value's text is at most so many times as long as its encoding (a time of day with its zone); of long values, two.
const TEXT_BYTES_PER_BYTE_MAX: usize = 4;

/// What the log allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Partitions of each group's topic.
    pub partitions: u32,
    /// A record above this, its key included, is published with all values unknown.
    pub record_bytes_max: usize,
}

/// A record on its way to the group's topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RowRecord {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Debezium's header of a key change, and the other key.
    pub other_key: Option<(&'static str, Vec<u8>)>,
    /// Whose row it is, where it was too large and goes without its values.
    pub too_large: Option<String>,
}

/// A row's change, as the log has it.
pub(crate) enum RowChange<'a> {
    Insert(&'a Tuple<'a>),
    Update(Option<&'a OldTuple<'a>>, &'a Tuple<'a>),
    Delete(&'a OldTuple<'a>),
    /// A row that a snapshot has read.
    Read(&'a Tuple<'a>),
}

/// A row that can't be published.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum RowError {
    #[error("table {0}: a row with another number of columns than the table")]
    Columns(String),
    #[error("table {0}: a row whose identity is not in the log")]
    Identity(String),
    #[error("table {0}: a row whose key alone is too large for a record")]
    Key(String),
}

/// Makes the records of a change. `stamp` is that of its first row; a key change counts as two.
pub(crate) fn records(
    table: &PublishedTable,
    change: &RowChange<'_>,
    stamp: &Stamp<'_>,
    limits: Limits,
) -> Result<Vec<RowRecord>, RowError> {
    let maker = Maker { table, limits };
    let made = maker.records(change, stamp)?;
    if made.iter().any(|record| record.bytes() > limits.record_bytes_max) {
        return Err(RowError::Key(table.record.full_name()));
    }
    Ok(made)
}

impl RowRecord {
    /// What Kafka has to take: keys and value.
    fn bytes(&self) -> usize {
        let other = self.other_key.as_ref().map_or(0, |(name, key)| name.len() + key.len());
        [&self.key, &self.value].into_iter().flatten().map(Vec::len).sum::<usize>() + other
    }
}

struct Maker<'t> {
    table: &'t PublishedTable,
    limits: Limits,
}

impl Maker<'_> {
    fn records(&self, change: &RowChange<'_>, stamp: &Stamp<'_>) -> Result<Vec<RowRecord>, RowError> {
        match change {
            RowChange::Insert(new) => {
                let new = self.row(new)?;
                Ok(vec![self.record(Op::Insert, None, Some(&new), stamp)?])
            }
            RowChange::Read(row) => {
                let row = self.row(row)?;
                Ok(vec![self.record(Op::Read, None, Some(&row), stamp)?])
            }
            RowChange::Delete(old) => {
                let old = self.old(old)?;
                self.delete(&old, stamp)
            }
            RowChange::Update(old, new) => {
                let old = old.map(|old| self.old(old)).transpose()?;
                let new = self.kept(self.row(new)?, old.as_deref());
                match old {
                    Some(old) if self.key_differs(&old, &new) => self.key_change(&old, &new, stamp),
                    old => Ok(vec![self.record(Op::Update, old.as_deref(), Some(&new), stamp)?]),
                }
            }
        }
    }

    fn row<'a>(&self, tuple: &Tuple<'a>) -> Result<Vec<Datum<'a>>, RowError> {
        if tuple.len() != self.table.record.columns.len() {
            return Err(RowError::Columns(self.table.record.full_name()));
        }
        let datum = |field: &Field<'a>| match field {
            Field::Null => Datum::Null,
            Field::Unchanged => Datum::Unknown,
            Field::Text(text) => Datum::Text(text),
        };
        let mut row: Vec<Datum<'a>> = tuple.iter().map(datum).collect();
        let withheld = row.iter_mut().zip(&self.table.withheld).filter(|(_, withheld)| **withheld);
        withheld.for_each(|(datum, _)| *datum = Datum::Unknown);
        Ok(row)
    }

    /// Of an old row only the identity is trusted, unless the log has all of it.
    fn old<'a>(&self, old: &OldTuple<'a>) -> Result<Vec<Datum<'a>>, RowError> {
        match old {
            OldTuple::Full(tuple) if self.table.whole_old => self.row(tuple),
            // A partition logs by an identity of its own, in the root's form: what that lacks comes as null.
            OldTuple::Full(tuple) => self.row_with(tuple, |_, datum| *datum == Datum::Null),
            // The columns of a key or an index are never null.
            OldTuple::Key(tuple) => self.row_with(tuple, |column, datum| !column.identity || *datum == Datum::Null),
        }
    }

    /// A row of which some values are not known.
    fn row_with<'a>(
        &self,
        tuple: &Tuple<'a>,
        is_unknown: impl Fn(&TableColumn, &Datum<'a>) -> bool,
    ) -> Result<Vec<Datum<'a>>, RowError> {
        let mut row = self.row(tuple)?;
        let unknown = row.iter_mut().zip(&self.table.record.columns);
        unknown.filter(|(datum, column)| is_unknown(column, datum)).for_each(|(datum, _)| *datum = Datum::Unknown);
        Ok(row)
    }

    /// A key that lies outside the row and did not change is not in the log's new row; the old one has it.
    fn kept<'a>(&self, mut new: Vec<Datum<'a>>, old: Option<&[Datum<'a>]>) -> Vec<Datum<'a>> {
        for (at, column) in self.table.record.columns.iter().enumerate() {
            if new[at] == Datum::Unknown && (column.identity || at == self.table.entity_at) {
                new[at] = old.map_or(Datum::Unknown, |old| old[at]);
            }
        }
        new
    }

    fn key_differs(&self, old: &[Datum<'_>], new: &[Datum<'_>]) -> bool {
        let entity = self.table.entity_at;
        let columns = self.table.record.columns.iter().enumerate();
        columns.filter(|(at, column)| column.identity || *at == entity).any(|(at, _)| old[at] != new[at])
    }

    fn delete(&self, old: &[Datum<'_>], stamp: &Stamp<'_>) -> Result<Vec<RowRecord>, RowError> {
        let record = self.record(Op::Delete, Some(old), None, stamp)?;
        let tombstone = RowRecord { value: None, key: record.key.clone(), other_key: None, too_large: None, ..record };
        Ok(vec![record, tombstone])
    }

    /// A key change is a delete under the old key and an insert under the new one, each in its own entity's partition.
    fn key_change(&self, old: &[Datum<'_>], new: &[Datum<'_>], stamp: &Stamp<'_>) -> Result<Vec<RowRecord>, RowError> {
        let mut records = self.delete(old, stamp)?;
        let mut second = stamp.clone();
        second.position.ordinal += 1;
        second.collection_order += 1;
        let mut insert = self.record(Op::Insert, None, Some(new), &second)?;
        for record in &mut records {
            record.other_key = insert.key.clone().map(|key| ("__debezium.newkey", key));
        }
        insert.other_key = records[0].key.clone().map(|key| ("__debezium.oldkey", key));
        records.push(insert);
        Ok(records)
    }

    fn record(
        &self,
        op: Op,
        before: Option<&[Datum<'_>]>,
        after: Option<&[Datum<'_>]>,
        stamp: &Stamp<'_>,
    ) -> Result<RowRecord, RowError> {
        let table = &self.table.record;
        let row = after.or(before).unwrap_or_default();
        let identity = || RowError::Identity(table.full_name());
        let entity = match row.get(self.table.entity_at) {
            Some(Datum::Text(text)) => table.columns[self.table.entity_at].kind.canonical(text),
            // A row of nobody: it has a place in the log, and no effect on any entry.
            Some(Datum::Null) => String::new(),
            _ => return Err(identity()),
        };
        let keyed = table.columns.iter().any(|column| column.identity);
        let key = if keyed { Some(table.key(self.table.key_schema, row).ok_or_else(identity)?) } else { None };
        let text_bytes = |row: Option<&[Datum<'_>]>| row.unwrap_or_default().iter().map(text_bytes).sum::<usize>();
        let least = (text_bytes(before) + text_bytes(after)) / TEXT_BYTES_PER_BYTE_MAX;
        let encode = || table.envelope(self.table.value_schema, op, before, after, stamp);
        // What is certain to be too large need not be encoded, and held twice, to find that out.
        let whole = (least <= self.limits.record_bytes_max).then(encode);
        let bytes = whole.as_ref().map_or(least, Vec::len) + key.as_ref().map_or(0, Vec::len);
        let is_hollow = bytes > self.limits.record_bytes_max;
        let mut value = whole.unwrap_or_default();
        if is_hollow {
            tracing::warn!(table = %table.full_name(), bytes, "a row too large for a record is published without its values");
            let (before, after) = (before.map(|row| self.hollow(row)), after.map(|row| self.hollow(row)));
            let stamp = Stamp { incomplete: true, ..stamp.clone() };
            value = table.envelope(self.table.value_schema, op, before.as_deref(), after.as_deref(), &stamp);
        }
        let partition = partition_of(&entity, self.limits.partitions) as i32;
        let too_large = is_hollow.then_some(entity);
        Ok(RowRecord { partition, key, value: Some(value), other_key: None, too_large })
    }

    /// The row with nothing but its identity.
    fn hollow<'a>(&self, row: &[Datum<'a>]) -> Vec<Datum<'a>> {
        let columns = &self.table.record.columns;
        row.iter().zip(columns).map(|(datum, column)| if column.identity { *datum } else { Datum::Unknown }).collect()
    }
}

fn text_bytes(datum: &Datum<'_>) -> usize {
    if let Datum::Text(text) = datum { text.len() } else { 0 }
}
