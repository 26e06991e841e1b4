//! A table with a column of every kind that is encoded in a way of its own.

use lockstep_schemas::column::ColumnType;
use lockstep_schemas::envelope::{RecordTable, TableColumn};

pub const KINDS: [(ColumnType, &str); 16] = [
    (ColumnType::Int64, "85123"),
    (ColumnType::Boolean, "t"),
    (ColumnType::Int16, "-7"),
    (ColumnType::Float, "1.5"),
    (ColumnType::Double, "1e-300"),
    (ColumnType::Decimal { precision: 8, scale: 3 }, "12.345"),
    (ColumnType::VariableDecimal, "0.10"),
    (ColumnType::Bytes, "\\xdeadbeef"),
    (ColumnType::Date, "2024-02-29"),
    (ColumnType::TimeMillis, "23:59:59.999"),
    (ColumnType::TimeMicros, "13:14:15.123456"),
    (ColumnType::TimestampMillis, "2024-02-29 13:14:15"),
    (ColumnType::TimestampMicros, "1969-12-31 23:59:59.999999"),
    (ColumnType::TimestampTz, "2024-02-29 11:14:15.123456+00"),
    (ColumnType::Json, "{\"a\": 1}"),
    (ColumnType::Text, "a lantern"),
];

pub fn table() -> RecordTable {
    let column = |(at, (kind, _)): (usize, (ColumnType, &str))| TableColumn {
        name: format!("Column {at}"),
        kind,
        identity: at == 0,
    };
    RecordTable::new("lockstep", "public", "Price List", KINDS.into_iter().enumerate().map(column).collect())
}
