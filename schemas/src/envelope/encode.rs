//! The writer's side: a table's schemas, and rows in PostgreSQL's text as envelopes.

use std::collections::HashSet;

use serde_json::{Value as Json, json};

use crate::avro::Writer;
use crate::change::Op;
use crate::column::{ColumnType, UNAVAILABLE};
use crate::position::{Lsn, Position};
use crate::table_name::full_name;

/// A column as the log describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableColumn {
    /// Its name in the database.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Whether it belongs to the replica identity, and so to the record's key.
    pub identity: bool,
}

/// One value of a row, in PostgreSQL's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Datum<'a> {
    /// SQL null.
    Null,
    /// Not in the log.
    Unknown,
    /// Its text.
    Text(&'a str),
}

impl std::fmt::Debug for Datum<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Datum::Null => f.write_str("null"),
            Datum::Unknown => f.write_str("unknown"),
            Datum::Text(text) => std::fmt::Display::fmt(&crate::shown::Shown::private(text), f),
        }
    }
}

/// A table, with the texts of its two Avro schemas.
#[derive(Clone, Debug)]
pub struct RecordTable {
    /// The table's schema in the database.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// Its columns, in the log's order.
    pub columns: Vec<TableColumn>,
    /// Avro schema of keys.
    pub key_schema: String,
    /// Avro schema of envelopes.
    pub value_schema: String,
    record: String,
}

/// What an envelope says besides the row.
#[derive(Clone, Debug)]
pub struct Stamp<'a> {
    /// Where the change stands; its ordinal is `transaction.total_order`.
    pub position: Position,
    /// LSN of the row's own record, for readers of Debezium's field.
    pub lsn: Lsn,
    /// LSN of the commit before this one.
    pub previous_commit: Lsn,
    /// Ordinal among the transaction's changes of this table.
    pub collection_order: i64,
    /// The transaction's id.
    pub xid: u32,
    /// Commit time, microseconds since 1970.
    pub committed_at: i64,
    /// Now, microseconds since 1970.
    pub now: i64,
    /// The database's name.
    pub database: &'a str,
    /// The logical name of the server: the first part of the record's namespace.
    pub server: &'a str,
    /// Whether values were left out although they may have changed.
    pub incomplete: bool,
}

/// What a row's encoding left out.
#[derive(Default)]
struct Unwritten<'t> {
    unknown: Vec<&'t str>,
    incomplete: bool,
}

impl RecordTable {
    /// Makes the schemas of a table. `server` is the first part of their namespace.
    pub fn new(server: &str, schema: &str, name: &str, columns: Vec<TableColumn>) -> Self {
        let record = format!("{}.{}.{}", adjust(server), adjust(schema), adjust(name));
        let fields = field_names(&columns);
        let schemas = |of_key: bool| -> Vec<Json> {
            let mut defined = HashSet::new();
            let chosen = columns.iter().zip(&fields).filter(|(column, _)| column.identity || !of_key);
            chosen.map(|(column, name)| column.field(name, &mut defined)).collect()
        };
        let key_schema = json!({"type": "record", "name": "Key", "namespace": record, "fields": schemas(true),
            "connect.name": format!("{record}.Key")});
        let value_schema = envelope_schema(&record, schemas(false));
        RecordTable {
            schema: schema.to_owned(),
            name: name.to_owned(),
            key_schema: key_schema.to_string(),
            value_schema: value_schema.to_string(),
            columns,
            record,
        }
    }

    /// `schema.table`.
    pub fn full_name(&self) -> String {
        full_name(&self.schema, &self.name)
    }

    /// The registry's subjects of key and envelope: named by record, since a topic carries several tables.
    pub fn subjects(&self) -> (String, String) {
        (format!("{}-key", self.record), format!("{}-value", self.record))
    }

    /// A framed key from the identity columns of a row. `None` where one of them is not known or can't be encoded.
    pub fn key(&self, schema_id: u32, row: &[Datum<'_>]) -> Option<Vec<u8>> {
        let mut writer = Writer::framed(schema_id);
        for (column, datum) in self.columns.iter().zip(row).filter(|(column, _)| column.identity) {
            let Datum::Text(text) = datum else { return None };
            column.kind.encode(text, &mut writer)?;
        }
        Some(writer.bytes)
    }

    /// A framed envelope. Rows have a datum for each column.
    pub fn envelope(
        &self,
        schema_id: u32,
        op: Op,
        before: Option<&[Datum<'_>]>,
        after: Option<&[Datum<'_>]>,
        stamp: &Stamp<'_>,
    ) -> Vec<u8> {
        let mut writer = Writer::framed(schema_id);
        let before = self.row(before, &mut writer);
        let after = self.row(after, &mut writer);
        self.source(op, stamp, (&before, &after), &mut writer);
        writer.optional(Some(()), |w, ()| {
            w.digits(["", ":", ""], [stamp.xid.into(), stamp.lsn.0]);
            w.long(i64::from(stamp.position.ordinal));
            w.long(stamp.collection_order);
        });
        writer.blob(op.letter().as_bytes());
        writer.optional(Some(stamp.now / 1_000), Writer::long);
        writer.optional(Some(stamp.now), Writer::long);
        writer.optional(stamp.now.checked_mul(1_000), Writer::long);
        writer.bytes
    }

    /// Writes a row, and tells what could not be written.
    fn row(&self, row: Option<&[Datum<'_>]>, writer: &mut Writer) -> Unwritten<'_> {
        let mut unwritten = Unwritten::default();
        writer.optional(row, |writer, row| {
            for (column, datum) in self.columns.iter().zip(row) {
                let start = writer.bytes.len();
                if !column.identity {
                    writer.long(i64::from(!matches!(datum, Datum::Null)));
                }
                let written = match datum {
                    Datum::Text(text) => column.kind.encode(text, writer).is_some(),
                    Datum::Null => !column.identity,
                    Datum::Unknown => false,
                };
                if !written {
                    writer.bytes.truncate(start);
                    column.placeholder(writer);
                    unwritten.unknown.push(column.name.as_str());
                    // The log has it, and Avro's type can't hold it: infinity, a year before Christ, NaN in a decimal.
                    unwritten.incomplete |= matches!(datum, Datum::Text(_));
                }
            }
        });
        unwritten
    }

    fn source(
        &self,
        op: Op,
        stamp: &Stamp<'_>,
        (before, after): (&Unwritten<'_>, &Unwritten<'_>),
        writer: &mut Writer,
    ) {
        writer.blob(concat!("lockstep-", env!("CARGO_PKG_VERSION")).as_bytes());
        writer.blob(b"postgresql");
        writer.blob(stamp.server.as_bytes());
        writer.long(stamp.committed_at / 1_000);
        writer.long(0);
        writer.blob(if op == Op::Read { b"incremental" } else { b"false" });
        writer.blob(stamp.database.as_bytes());
        writer
            .optional(Some([stamp.previous_commit.0, stamp.lsn.0]), |w, lsns| w.digits(["[\"", "\",\"", "\"]"], lsns));
        writer.optional(Some(stamp.committed_at), Writer::long);
        writer.optional(stamp.committed_at.checked_mul(1_000), Writer::long);
        writer.blob(self.schema.as_bytes());
        writer.blob(self.name.as_bytes());
        writer.optional(Some(i64::from(stamp.xid)), Writer::long);
        writer.optional(Some(stamp.lsn.0 as i64), Writer::long);
        for _ in ["xmin", "origin", "origin_lsn"] {
            writer.long(0);
        }
        writer.optional(Some(stamp.position.lsn.0 as i64), Writer::long);
        writer.optional(Some(i64::from(stamp.position.epoch)), Writer::long);
        for unknown in [&before.unknown, &after.unknown] {
            writer.optional((!unknown.is_empty()).then_some(unknown), |w, names| {
                w.long(names.len() as i64);
                names.iter().for_each(|name| w.blob(name.as_bytes()));
                w.long(0);
            });
        }
        let incomplete = stamp.incomplete || after.incomplete;
        writer.optional(incomplete.then_some(true), Writer::boolean);
    }
}

impl TableColumn {
    /// Its field of a record. A named type is written out once; afterwards its name stands for it.
    fn field(&self, name: &str, defined: &mut HashSet<String>) -> Json {
        let mut kind = self.kind.schema();
        if let Some(full) = type_name(&kind).filter(|full| !defined.insert(full.clone())) {
            kind = json!(full);
        }
        let mut field = if self.identity {
            json!({"name": name, "type": kind})
        } else {
            json!({"name": name, "type": ["null", kind], "default": null})
        };
        if name != self.name {
            field["lockstep.column"] = json!(self.name);
        }
        field
    }

    /// What stands where a value is not known: Debezium's placeholder in an optional text, null in any other optional
    /// column, the type's zero in an identity column (whose record the reader knows to be incomplete).
    fn placeholder(&self, writer: &mut Writer) {
        match (self.identity, self.kind) {
            (false, ColumnType::Text | ColumnType::Json) => {
                writer.long(1);
                writer.blob(UNAVAILABLE.as_bytes());
            }
            (false, _) => writer.long(0),
            (true, ColumnType::Float) => writer.float(0.0),
            (true, ColumnType::Double) => writer.double(0.0),
            (true, ColumnType::VariableDecimal) => {
                writer.long(0);
                writer.blob(&[0]);
            }
            (true, _) => writer.long(0),
        }
    }
}

fn envelope_schema(record: &str, row: Vec<Json>) -> Json {
    let optional = |name: &str, kind: Json| json!({"name": name, "type": ["null", kind], "default": null});
    let value = json!({"type": "record", "name": "Value", "fields": row, "connect.name": format!("{record}.Value")});
    let snapshot = json!([{"type": "string", "connect.version": 1, "connect.default": "false",
        "connect.parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
        "connect.name": "io.debezium.data.Enum"}, "null"]);
    let names = json!({"type": "array", "items": "string"});
    let source = json!({"type": "record", "name": "Source", "namespace": "io.debezium.connector.postgresql",
        "fields": [
            {"name": "version", "type": "string"}, {"name": "connector", "type": "string"},
            {"name": "name", "type": "string"}, {"name": "ts_ms", "type": "long"},
            {"name": "snapshot", "type": snapshot, "default": "false"}, {"name": "db", "type": "string"},
            optional("sequence", json!("string")), optional("ts_us", json!("long")), optional("ts_ns", json!("long")),
            {"name": "schema", "type": "string"}, {"name": "table", "type": "string"},
            optional("txId", json!("long")), optional("lsn", json!("long")), optional("xmin", json!("long")),
            optional("origin", json!("string")), optional("origin_lsn", json!("long")),
            optional("commit_lsn", json!("long")), optional("epoch", json!("int")),
            optional("unknown_before", names.clone()), optional("unknown_after", names),
            optional("incomplete", json!("boolean")),
        ],
        "connect.version": 1, "connect.name": "io.debezium.connector.postgresql.Source"});
    let block = json!({"type": "record", "name": "block", "namespace": "event",
        "fields": [{"name": "id", "type": "string"}, {"name": "total_order", "type": "long"},
            {"name": "data_collection_order", "type": "long"}],
        "connect.version": 1, "connect.name": "event.block"});
    json!({"type": "record", "name": "Envelope", "namespace": record,
        "fields": [
            optional("before", value), optional("after", json!("Value")),
            {"name": "source", "type": source}, optional("transaction", block), {"name": "op", "type": "string"},
            optional("ts_ms", json!("long")), optional("ts_us", json!("long")), optional("ts_ns", json!("long")),
        ],
        "connect.version": 2, "connect.name": format!("{record}.Envelope")})
}

fn type_name(kind: &Json) -> Option<String> {
    let part = |name: &str| kind.get(name).and_then(Json::as_str);
    Some(format!("{}.{}", part("namespace")?, part("name")?))
}

/// Field names that Avro allows, distinct.
fn field_names(columns: &[TableColumn]) -> Vec<String> {
    let mut taken = HashSet::new();
    let distinct = |column: &TableColumn| {
        let name = adjust(&column.name);
        let numbered = (2..).map(|n| format!("{name}_{n}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        free.unwrap_or(name)
    };
    columns.iter().map(distinct).collect()
}

fn adjust(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() { format!("_{name}") } else { name }
}
