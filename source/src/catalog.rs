//! What the database says about its own tables.

use std::collections::BTreeMap;

use lockstep_schemas::column::ColumnType;
use lockstep_schemas::table_name::{full_name, split};

use crate::database::{Database, DatabaseError, literal, required};

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its type, as far as encoding goes.
    pub kind: ColumnType,
    /// Its type in SQL, for casts.
    pub sql_type: String,
    /// Whether it belongs to the replica identity: of a partitioned table, to its own and to that of each partition.
    pub identity: bool,
    /// Whether some partition's identity has it, or the table's own.
    pub logged: bool,
    /// A partition whose identity lacks it.
    pub lacking: Option<String>,
    /// Whether the database computes it; such columns are not in the log.
    pub generated: bool,
}

/// A table: columns by name.
pub type Table = BTreeMap<String, Column>;

/// Looks a table up; empty where there is none that we may see.
pub async fn table(database: &Database, table_name: &str) -> Result<Table, DatabaseError> {
    let (schema, name) = split(table_name).unwrap_or_else(|| ("public".into(), table_name.into()));
    let root = format!(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
        literal(&schema),
        literal(&name)
    );
    let sql = format!(
        "WITH RECURSIVE {}, held AS ( \
           SELECT c.oid, m.is_root, a.attname, CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false \
             ELSE coalesce(a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]), false) END AS held \
           FROM member m JOIN pg_class c ON c.oid = m.oid AND (m.is_root OR c.relkind = 'r') \
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
           LEFT JOIN pg_index i ON i.indrelid = c.oid \
             AND (CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)) \
         SELECT a.attname, a.atttypid::bigint::text, a.atttypmod::text, format_type(a.atttypid, a.atttypmod), \
           bool_and(h.held)::text, (a.attgenerated <> '')::text, bool_or(h.held)::text, \
           min(h.oid::regclass::text) FILTER (WHERE NOT h.held AND NOT h.is_root) \
         FROM member r JOIN pg_attribute a ON r.is_root AND a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped \
         JOIN held h ON h.attname = a.attname \
         GROUP BY a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated ORDER BY a.attnum",
        members(&root)
    );
    let mut table = Table::new();
    for row in database.texts(sql).await? {
        let text = |at| required(&row, at, "a column");
        let number = |at| {
            let text = text(at)?;
            text.parse::<i64>().map_err(|_| DatabaseError::Answer { expected: "a number", answer: text.to_owned() })
        };
        let kind = ColumnType::from_oid(number(1)? as u32, number(2)? as i32);
        let column = Column {
            kind,
            sql_type: text(3)?.to_owned(),
            identity: text(4)? == "true",
            logged: text(6)? == "true",
            lacking: row[7].clone(),
            generated: text(5)? == "true",
        };
        table.insert(text(0)?.to_owned(), column);
    }
    Ok(table)
}

/// A table and all its partitions, by `oid`, as the first part of a recursive query.
fn members(root: &str) -> String {
    format!(
        "member(oid, is_root) AS (SELECT r.oid, true FROM ({root}) AS r UNION ALL \
           SELECT i.inhrelid, false FROM member m JOIN pg_inherits i ON i.inhparent = m.oid \
           JOIN pg_class p ON p.oid = i.inhrelid AND p.relispartition)"
    )
}

/// Where a table's rows lie. It differs when they were written anew, or came or went without a word in the log: a rewrite
/// (`ALTER ... TYPE ... USING`), a truncate of one partition, a partition that was attached, another table of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Tables, their files, and the numbers of the columns: a column that was dropped and added again has another one.
    pub mark: String,
    /// Somebody holds the table alone and for long: what a transaction did to it may not be visible yet.
    pub is_held: bool,
    /// Whether the log has every old row whole, in each partition.
    pub is_full: bool,
}

/// Who changes a table holds it alone, until what he did is visible. The log has it a moment before.
const HELD_WAIT_MAX_MS: u32 = 1_000;

/// Looks at a table by its number, and at those of its columns that the log has.
pub async fn storage(database: &Database, relation: u32, columns: &[&str]) -> Result<Storage, DatabaseError> {
    let root = format!("SELECT {relation}::oid AS oid");
    // Asking for a size waits for whoever holds the table alone, and needs no right on it.
    let sizes =
        format!("SELECT pg_relation_size({relation})::text UNION ALL SELECT pg_relation_size(oid)::text FROM member");
    let wait = format!("SET LOCAL lock_timeout = {HELD_WAIT_MAX_MS}; WITH RECURSIVE {} {sizes}", members(&root));
    let is_held = database.texts(wait).await.is_err();
    let columns: Vec<String> = columns.iter().map(|column| literal(column)).collect();
    let sql = format!(
        "WITH RECURSIVE {} \
         SELECT coalesce(string_agg(c.oid || ':' || c.relfilenode, ' ' ORDER BY c.oid), '') || \
           coalesce((SELECT string_agg(' ' || a.attnum, '' ORDER BY a.attnum) FROM pg_attribute a \
             WHERE a.attrelid = {relation} AND NOT a.attisdropped AND a.attname = ANY(ARRAY[{}]::name[])), ''), \
           coalesce(bool_and(c.relkind <> 'r' OR c.relreplident = 'f'), false)::text \
         FROM member m JOIN pg_class c ON c.oid = m.oid",
        members(&root),
        columns.join(",")
    );
    let rows = database.texts(sql).await?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let mark = required(row, 0, "files")?.to_owned();
    Ok(Storage { mark, is_held, is_full: required(row, 1, "a boolean")? == "true" })
}

/// Those of a group's tables that are partitioned.
pub async fn partitioned(database: &Database, names: &[&str]) -> Result<Vec<String>, DatabaseError> {
    let names: Vec<_> = names.iter().filter_map(|name| split(name)).collect();
    let pairs = names.iter().map(|(schema, name)| format!("({},{})", literal(schema), literal(name)));
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'p' AND (n.nspname, c.relname) IN ({}) ORDER BY 1, 2",
        pairs.collect::<Vec<_>>().join(",")
    );
    let rows = database.texts(sql).await?;
    rows.iter().map(|row| Ok(full_name(required(row, 0, "a schema")?, required(row, 1, "a table")?))).collect()
}

/// Tables that inherit from one of these without being partitions of it: parent and child.
pub async fn children(database: &Database, names: &[&str]) -> Result<Vec<(String, String)>, DatabaseError> {
    let names: Vec<_> = names.iter().filter_map(|name| split(name)).collect();
    let pairs = names.iter().map(|(schema, name)| format!("({},{})", literal(schema), literal(name)));
    let sql = format!(
        "SELECT pn.nspname, p.relname, cn.nspname, c.relname FROM pg_inherits i \
         JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace \
         JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace \
         WHERE p.relkind = 'r' AND NOT c.relispartition AND (pn.nspname, p.relname) IN ({}) ORDER BY 1, 2, 3, 4",
        pairs.collect::<Vec<_>>().join(",")
    );
    let rows = database.texts(sql).await?;
    let name = |row: &[Option<String>], at| {
        Ok::<_, DatabaseError>(full_name(required(row, at, "a schema")?, required(row, at + 1, "a table")?))
    };
    rows.iter().map(|row| Ok((name(row, 0)?, name(row, 2)?))).collect()
}

/// Tables that a publication has with a list of columns, although every old row of theirs, or of a partition's, is logged
/// whole.
pub async fn listed_though_full(database: &Database, publication: &str) -> Result<Vec<String>, DatabaseError> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid \
         JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE p.pubname = {} AND r.prattrs IS NOT NULL AND (c.relkind = 'r' AND c.relreplident = 'f' \
           OR EXISTS (SELECT FROM pg_partition_tree(c.oid) t JOIN pg_class leaf ON leaf.oid = t.relid \
             WHERE t.isleaf AND leaf.relreplident = 'f')) ORDER BY 1, 2",
        literal(publication)
    );
    let rows = database.texts(sql).await?;
    rows.iter().map(|row| Ok(full_name(required(row, 0, "a schema")?, required(row, 1, "a table")?))).collect()
}

/// Of these tables, those whose old rows are logged whole and hold columns that the database computes; and whether one of
/// those is never stored. PostgreSQL 18 refuses such a table updates and deletes where a publication has it without them;
/// before 18 there are none in this sense.
pub async fn computed_in_full(database: &Database, names: &[&str]) -> Result<Vec<(String, bool)>, DatabaseError> {
    let pairs = names.iter().filter_map(|name| split(name));
    let pairs: Vec<String> = pairs.map(|(schema, name)| format!("({},{})", literal(&schema), literal(&name))).collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname, bool_or(a.attgenerated = 'v')::text \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         CROSS JOIN LATERAL (SELECT c.oid UNION SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf) AS member(oid) \
         JOIN pg_class held ON held.oid = member.oid AND held.relkind = 'r' AND held.relreplident = 'f' \
         JOIN pg_attribute a ON a.attrelid = held.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> '' \
         WHERE current_setting('server_version_num')::int >= 180000 AND (n.nspname, c.relname) IN ({}) \
         GROUP BY 1, 2 ORDER BY 1, 2",
        pairs.join(",")
    );
    let rows = database.texts(sql).await?;
    let one = |row: &Vec<Option<String>>| {
        let name = full_name(required(row, 0, "a schema")?, required(row, 1, "a table")?);
        Ok((name, required(row, 2, "a boolean")? == "true"))
    };
    rows.iter().map(one).collect()
}

/// The columns of a table's primary key; none where it has none.
pub async fn primary_key(database: &Database, table_name: &str) -> Result<Vec<String>, DatabaseError> {
    let (schema, name) = split(table_name).unwrap_or_else(|| ("public".into(), table_name.into()));
    let sql = format!(
        "SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
         WHERE n.nspname = {} AND c.relname = {}",
        literal(&schema),
        literal(&name)
    );
    database.texts(sql).await?.iter().map(|row| required(row, 0, "a column").map(str::to_owned)).collect()
}

/// Whether two rows of a table must differ in these columns: some unique index has none but them.
pub async fn is_unique(database: &Database, table_name: &str, columns: &[&str]) -> Result<bool, DatabaseError> {
    let (schema, name) = split(table_name).unwrap_or_else(|| ("public".into(), table_name.into()));
    let columns: Vec<String> = columns.iter().map(|column| literal(column)).collect();
    let sql = format!(
        "SELECT 1::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_index i ON i.indrelid = c.oid \
         WHERE n.nspname = {} AND c.relname = {} AND i.indisunique AND i.indisvalid AND i.indpred IS NULL \
           AND i.indexprs IS NULL AND NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND a.attname <> ALL(ARRAY[{}]::name[])) LIMIT 1",
        literal(&schema),
        literal(&name),
        columns.join(",")
    );
    Ok(!database.texts(sql).await?.is_empty())
}
