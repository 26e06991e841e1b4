//! What the database says about its own tables.

use std::collections::BTreeMap;

use lockstep_schemas::column::ColumnType;

use crate::database::{Database, DatabaseError, literal, required};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its type, as far as encoding goes.
    pub kind: ColumnType,
    /// Its type in SQL, for casts.
    pub sql_type: String,
    /// Whether it belongs to the replica identity.
    pub identity: bool,
    /// Whether the database computes it; such columns are not in the log.
    pub generated: bool,
}

/// A table: columns by name.
pub type Table = BTreeMap<String, Column>;

/// Looks a table up; empty where there is none that we may see.
pub async fn table(database: &Database, full_name: &str) -> Result<Table, DatabaseError> {
    let (schema, name) = full_name.split_once('.').unwrap_or(("public", full_name));
    let sql = format!(
        "SELECT a.attname, a.atttypid::bigint::text, a.atttypmod::text, format_type(a.atttypid, a.atttypmod), \
           CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false \
             ELSE coalesce(a.attnum = ANY(i.indkey::int2[]), false) END::text, (a.attgenerated <> '')::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_index i ON i.indrelid = c.oid \
           AND (CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) \
         WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p') ORDER BY a.attnum",
        literal(schema),
        literal(name)
    );
    let mut table = Table::new();
    for row in database.texts(sql).await? {
        let text = |at| required(&row, at, "a column");
        let number = |at| {
            let text = text(at)?;
            text.parse::<i64>().map_err(|_| DatabaseError::Answer { expected: "a number", answer: text.to_owned() })
        };
        let kind = ColumnType::from_oid(number(1)? as u32, number(2)? as i32);
        let column =
            Column { kind, sql_type: text(3)?.to_owned(), identity: text(4)? == "true", generated: text(5)? == "true" };
        table.insert(text(0)?.to_owned(), column);
    }
    Ok(table)
}

/// The columns of a table's primary key; none where it has none.
pub async fn primary_key(database: &Database, full_name: &str) -> Result<Vec<String>, DatabaseError> {
    let (schema, name) = full_name.split_once('.').unwrap_or(("public", full_name));
    let sql = format!(
        "SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[]) \
         WHERE n.nspname = {} AND c.relname = {}",
        literal(schema),
        literal(name)
    );
    database.texts(sql).await?.iter().map(|row| required(row, 0, "a column").map(str::to_owned)).collect()
}
