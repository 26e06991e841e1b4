//! The reader's side: envelopes as changes, by a plan compiled once for each writer's schema.

use std::sync::Arc;

use crate::avro::{AvroError, Plan, Reader, RecordPlan};
use crate::change::{Cell, Change, Op, Row};
use crate::column::decode_text;
use crate::position::{Lsn, Position};
use crate::table_name::full_name;

/// How to read the envelopes of one schema.
#[derive(Debug)]
pub struct EnvelopePlan {
    fields: Vec<(Field, Plan)>,
    source: Vec<(SourceField, Plan)>,
    table: std::sync::OnceLock<Arc<str>>,
}

/// A field of an envelope, told from its name once.
#[derive(Clone, Copy, Debug)]
enum Field {
    Before,
    After,
    Source,
    Transaction,
    Op,
    /// Nothing that a change needs.
    Other,
}

/// The same of the block `source`.
#[derive(Clone, Copy, Debug)]
enum SourceField {
    Schema,
    Table,
    Xid,
    CommittedAt,
    CommitLsn,
    Epoch,
    UnknownBefore,
    UnknownAfter,
    Incomplete,
    Other,
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "before" => Field::Before,
            "after" => Field::After,
            "source" => Field::Source,
            "transaction" => Field::Transaction,
            "op" => Field::Op,
            _ => Field::Other,
        }
    }
}

impl SourceField {
    fn of(name: &str) -> Self {
        match name {
            "schema" => SourceField::Schema,
            "table" => SourceField::Table,
            "txId" => SourceField::Xid,
            "ts_us" => SourceField::CommittedAt,
            "commit_lsn" => SourceField::CommitLsn,
            "epoch" => SourceField::Epoch,
            "unknown_before" => SourceField::UnknownBefore,
            "unknown_after" => SourceField::UnknownAfter,
            "incomplete" => SourceField::Incomplete,
            _ => SourceField::Other,
        }
    }
}

/// What the fields of an envelope said, until they make a change.
#[derive(Default)]
struct Parts {
    before: Option<Row>,
    after: Option<Row>,
    op: Option<Op>,
    table: Option<Arc<str>>,
    xid: Option<i64>,
    committed_at: Option<i64>,
    commit_lsn: Option<i64>,
    epoch: Option<i64>,
    ordinal: Option<i64>,
    unknown_before: Vec<String>,
    unknown_after: Vec<String>,
    incomplete: bool,
}

impl EnvelopePlan {
    /// Compiles the schema of an envelope.
    pub fn compile(schema: &str) -> Result<Self, AvroError> {
        let Plan::Record(record) = Plan::compile(schema)? else {
            return Err(AvroError::Schema("an envelope must be a record".to_owned()));
        };
        for name in ["before", "after", "source", "op"] {
            if !record.fields.iter().any(|(field, _)| &**field == name) {
                return Err(AvroError::Missing(name));
            }
        }
        let named = |name: &str| record.fields.iter().find(|(field, _)| &**field == name).map(|(_, plan)| plan);
        let Some(Plan::Record(source)) = named("source") else { return Err(AvroError::Kind("source")) };
        Ok(EnvelopePlan {
            fields: record.fields.iter().map(|(name, plan)| (Field::of(name), plan.clone())).collect(),
            source: source.fields.iter().map(|(name, plan)| (SourceField::of(name), plan.clone())).collect(),
            table: std::sync::OnceLock::new(),
        })
    }

    /// Reads one envelope, without its frame.
    pub fn decode(&self, body: &[u8]) -> Result<Change, EnvelopeError> {
        let mut reader = Reader::new(body);
        let mut parts = Parts::default();
        for (field, plan) in &self.fields {
            match field {
                Field::Before => parts.before = row(plan, &mut reader)?,
                Field::After => parts.after = row(plan, &mut reader)?,
                Field::Source => self.source(&mut reader, &mut parts)?,
                Field::Transaction => transaction(plan, &mut reader, &mut parts)?,
                Field::Op => parts.op = Op::from_letter(reader.text()?),
                Field::Other => plan.skip(&mut reader)?,
            }
        }
        parts.change()
    }

    fn source(&self, reader: &mut Reader<'_>, parts: &mut Parts) -> Result<(), AvroError> {
        let mut schema = "";
        for (field, plan) in &self.source {
            match field {
                SourceField::Schema => schema = reader.text()?,
                SourceField::Table => parts.table = Some(self.table(schema, reader.text()?)),
                SourceField::Xid => parts.xid = optional_long(plan, reader)?,
                SourceField::CommittedAt => parts.committed_at = optional_long(plan, reader)?,
                SourceField::CommitLsn => parts.commit_lsn = optional_long(plan, reader)?,
                SourceField::Epoch => parts.epoch = optional_long(plan, reader)?,
                SourceField::UnknownBefore => parts.unknown_before = names(plan, reader)?,
                SourceField::UnknownAfter => parts.unknown_after = names(plan, reader)?,
                SourceField::Incomplete => parts.incomplete = flag(plan, reader)?,
                SourceField::Other => plan.skip(reader)?,
            }
        }
        Ok(())
    }

    /// The table's name, shared by the changes of one schema.
    fn table(&self, schema: &str, table: &str) -> Arc<str> {
        let known = self.table.get_or_init(|| full_name(schema, table).into());
        let same = known.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.')) == Some(table);
        if same { known.clone() } else { full_name(schema, table).into() }
    }
}

impl Parts {
    fn change(mut self) -> Result<Change, EnvelopeError> {
        let position = Position {
            epoch: self.epoch.and_then(|epoch| u16::try_from(epoch).ok()).ok_or(EnvelopeError::Without("epoch"))?,
            lsn: Lsn(self.commit_lsn.ok_or(EnvelopeError::Without("commit_lsn"))? as u64),
            ordinal: self.ordinal.and_then(|n| u32::try_from(n).ok()).ok_or(EnvelopeError::Without("total_order"))?,
        };
        for name in &self.unknown_before {
            self.before.iter_mut().for_each(|row| row.forget(name));
        }
        for name in &self.unknown_after {
            self.after.iter_mut().for_each(|row| row.forget(name));
        }
        Ok(Change {
            position,
            xid: self.xid.ok_or(EnvelopeError::Without("txId"))? as u32,
            committed_at: self.committed_at.unwrap_or(0),
            table: self.table.ok_or(EnvelopeError::Without("table"))?,
            op: self.op.ok_or(EnvelopeError::Without("op"))?,
            before: self.before,
            after: self.after,
            incomplete: self.incomplete,
        })
    }
}

fn row(plan: &Plan, reader: &mut Reader<'_>) -> Result<Option<Row>, AvroError> {
    match plan.resolve(reader)? {
        Plan::Null => Ok(None),
        Plan::Record(record) => Ok(Some(Row::new(record.names.clone(), cells(record, reader)?))),
        _ => Err(AvroError::Kind("before, after")),
    }
}

fn cells(record: &RecordPlan, reader: &mut Reader<'_>) -> Result<Vec<Cell>, AvroError> {
    let mut cells = Vec::with_capacity(record.fields.len());
    for (_, plan) in &record.fields {
        cells.push(match plan.resolve(reader)? {
            Plan::Null => Cell::Null,
            plan => match decode_text(plan, reader)? {
                Some(text) => Cell::Value(text),
                None => Cell::Unknown,
            },
        });
    }
    Ok(cells)
}

fn transaction(plan: &Plan, reader: &mut Reader<'_>, parts: &mut Parts) -> Result<(), AvroError> {
    let Plan::Record(record) = plan.resolve(reader)? else { return Ok(()) };
    for (name, plan) in &record.fields {
        match &**name {
            "total_order" => parts.ordinal = Some(reader.long()?),
            _ => plan.skip(reader)?,
        }
    }
    Ok(())
}

fn optional_long(plan: &Plan, reader: &mut Reader<'_>) -> Result<Option<i64>, AvroError> {
    match plan.resolve(reader)? {
        Plan::Null => Ok(None),
        Plan::Long(_) => reader.long().map(Some),
        _ => Err(AvroError::Kind("source")),
    }
}

fn flag(plan: &Plan, reader: &mut Reader<'_>) -> Result<bool, AvroError> {
    match plan.resolve(reader)? {
        Plan::Null => Ok(false),
        Plan::Boolean => reader.boolean(),
        _ => Err(AvroError::Kind("incomplete")),
    }
}

fn names(plan: &Plan, reader: &mut Reader<'_>) -> Result<Vec<String>, AvroError> {
    let mut names = Vec::new();
    if let Plan::Array(items) = plan.resolve(reader)? {
        let Plan::Text = **items else { return Err(AvroError::Kind("unknown")) };
        reader.blocks(|r| {
            names.push(r.text()?.to_owned());
            Ok(())
        })?;
    }
    Ok(names)
}

/// A record that is no envelope of ours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Its bytes are not what its schema says.
    #[error(transparent)]
    Avro(#[from] AvroError),
    /// A field that a change needs has no value.
    #[error("the envelope has no {0}")]
    Without(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::unframe;
    use crate::column::ColumnType;
    use crate::envelope::{Datum, RecordTable, Stamp, TableColumn};
    use proptest::prelude::*;

    fn table() -> RecordTable {
        let column = |name: &str, kind, identity| TableColumn { name: name.to_owned(), kind, identity };
        RecordTable::new(
            "lockstep",
            "public",
            "Price List",
            vec![
                column("Item Id", ColumnType::Int32, true),
                column("Unit Price", ColumnType::Decimal { precision: 8, scale: 3 }, false),
                column("any", ColumnType::VariableDecimal, false),
                column("any2", ColumnType::VariableDecimal, false),
                column("note", ColumnType::Text, false),
            ],
        )
    }

    fn stamp() -> Stamp<'static> {
        let position = Position { epoch: 3, lsn: Lsn(0x16B_3748), ordinal: 7 };
        let lsn = Lsn(0x16B_3700);
        let (xid, committed_at, now) = (781, 1_795_517_474_346_853, 1_795_517_474_670_519);
        let previous_commit = Lsn(0x16B_0000);
        Stamp {
            position,
            lsn,
            previous_commit,
            collection_order: 2,
            xid,
            committed_at,
            now,
            database: "shop",
            server: "lockstep",
            incomplete: false,
        }
    }

    #[test]
    fn three_states_come_back() {
        let table = table();
        let after = [Datum::Text("1"), Datum::Text("12.345"), Datum::Text("0.10"), Datum::Null, Datum::Unknown];
        let record = table.envelope(9, Op::Update, None, Some(&after), &stamp());
        let (id, body) = unframe(&record).expect("a frame");
        let change = EnvelopePlan::compile(&table.value_schema).expect("a plan").decode(body).expect("a change");
        assert_eq!((id, change.op, change.position, change.xid), (9, Op::Update, stamp().position, 781));
        assert_eq!(&*change.table, "public.Price List");
        let row = change.after.expect("a row");
        assert_eq!(row.text("Unit Price"), Some("12.345"));
        assert_eq!(row.text("any"), Some("0.10"));
        assert_eq!((row.get("any2"), row.get("note")), (&Cell::Null, &Cell::Unknown));
    }

    #[test]
    fn what_avro_cannot_hold_is_said_to_be_missing() {
        let (table, plan) = (table(), EnvelopePlan::compile(&table().value_schema).expect("a plan"));
        let decode = |price| {
            let after =
                [Datum::Text("1"), price, Datum::Null, Datum::Null, Datum::Text("__debezium_unavailable_value")];
            let record = table.envelope(9, Op::Update, None, Some(&after), &stamp());
            plan.decode(&record[5..]).expect("a change")
        };
        let whole = decode(Datum::Text("1.000"));
        assert!(!whole.incomplete);
        let note = whole.after.as_ref().and_then(|row| row.text("note"));
        assert_eq!(note, Some("__debezium_unavailable_value"), "a text like any other");
        assert!(!decode(Datum::Unknown).incomplete, "unchanged");
        assert!(decode(Datum::Text("NaN")).incomplete);
    }

    /// The reference reads what we write, by the same schema, to the end.
    #[test]
    fn apache_avro_reads_it() {
        let table = table();
        let before = [Datum::Text("1"), Datum::Unknown, Datum::Unknown, Datum::Unknown, Datum::Unknown];
        let record = table.envelope(9, Op::Delete, Some(&before), None, &stamp());
        let schema = apache_avro::Schema::parse_str(&table.value_schema).expect("a schema");
        let mut body = &record[5..];
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build().expect("a reader");
        let value = reader.read_value(&mut body).expect("a value");
        assert!(body.is_empty());
        let json: serde_json::Value = value.try_into().expect("json");
        assert_eq!(json["source"]["commit_lsn"], 0x16B_3748);
        assert_eq!(json["source"]["unknown_before"], serde_json::json!(["Unit Price", "any", "any2", "note"]));
        assert_eq!(json["before"]["Item_Id"], 1);
        let key_schema = apache_avro::Schema::parse_str(&table.key_schema).expect("a schema");
        assert_eq!(
            key_schema.name().map(|name| name.fullname(None)),
            Some("lockstep.public.Price_List.Key".to_owned())
        );
    }

    proptest! {
        /// What is written comes back, each value in one of its three states, whatever the columns are called.
        #[test]
        fn envelopes_come_back(
            columns in prop::collection::vec(("[a-zA-Z0-9_ .äЖ\"]{1,8}", any::<bool>(), state()), 1..12),
            op in prop::sample::select(vec![Op::Insert, Op::Update, Op::Delete]),
            (epoch, lsn, ordinal) in (any::<u16>(), any::<u64>(), any::<u32>()),
            xid: u32,
        ) {
            let mut names = std::collections::HashSet::new();
            let columns: Vec<_> = columns.into_iter().filter(|(name, ..)| names.insert(name.clone())).collect();
            let kind = |is_number: &bool| if *is_number { ColumnType::Int64 } else { ColumnType::Text };
            let column = |(name, is_number, _): &(String, bool, _)| TableColumn { name: name.clone(), kind: kind(is_number), identity: false };
            let table = RecordTable::new("lockstep", "my.schema", "1 Tisch", columns.iter().map(column).collect());
            let texts: Vec<Option<Option<String>>> = columns.iter().map(|(_, is_number, state)| {
                state.as_ref().map(|value| value.as_ref().map(|(number, text)| if *is_number { number.to_string() } else { text.clone() }))
            }).collect();
            let datum = |text: &'_ Option<Option<String>>| match text {
                None => Cell::Unknown,
                Some(None) => Cell::Null,
                Some(Some(text)) => Cell::Value(text.into()),
            };
            let row: Vec<Datum<'_>> = texts.iter().map(|text| match text {
                None => Datum::Unknown,
                Some(None) => Datum::Null,
                Some(Some(text)) => Datum::Text(text),
            }).collect();
            let (before, after) = ((op != Op::Insert).then_some(&*row), (op != Op::Delete).then_some(&*row));
            let position = Position { epoch, lsn: Lsn(lsn), ordinal };
            let record = table.envelope(9, op, before, after, &Stamp { position, xid, ..stamp() });
            let change = EnvelopePlan::compile(&table.value_schema).expect("a plan").decode(&record[5..]).expect("a change");
            prop_assert_eq!((change.position, change.xid, change.op), (position, xid, op));
            prop_assert_eq!(&*change.table, "\"my.schema\".1 Tisch");
            prop_assert_eq!((change.before.is_some(), change.after.is_some()), (before.is_some(), after.is_some()));
            for row in [&change.before, &change.after].into_iter().flatten() {
                for ((name, ..), text) in columns.iter().zip(&texts) {
                    prop_assert_eq!(row.get(name), &datum(text), "{}", name);
                }
            }
            prop_assert!(!change.incomplete);
        }
    }

    /// Unknown, null, or a value, as a number and as a text.
    fn state() -> impl Strategy<Value = Option<Option<(i64, String)>>> {
        prop::option::of(prop::option::of(any::<(i64, String)>()))
    }
}
