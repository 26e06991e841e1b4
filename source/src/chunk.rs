//! Reading a table in chunks, in the order of its key.

use lockstep_schemas::signal::Signal;
use lockstep_schemas::table_name;

use crate::database::{Database, DatabaseError, identifier, literal, required, texts_on};
use crate::signals::messages;

/// Rows read in one go: until then, nobody knows how large they are.
const FETCH_ROWS: usize = 32;

/// A table as a publication carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedShape {
    /// Its oid.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The replica identity's letter, as in `pg_class.relreplident`.
    pub identity: u8,
    /// Its published columns, in the table's order.
    pub columns: Vec<ShapeColumn>,
    /// Rows, as the database guesses.
    pub rows_estimated: u64,
    /// Columns of the key by which chunks are cut; fewer may be published.
    key_columns: usize,
}

/// Rows of a table, in the order of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Each column as PostgreSQL's text.
    pub rows: Vec<Vec<Option<String>>>,
    /// Of their texts.
    pub bytes: usize,
    /// Whether none follow.
    pub is_end: bool,
}

/// One of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Its name.
    pub name: String,
    /// Whether it belongs to the replica identity.
    pub in_identity: bool,
    /// Its type's oid.
    pub type_oid: u32,
    /// Its type's modifier; -1: none.
    pub type_modifier: i32,
    /// Its type in SQL.
    sql_type: String,
    /// Its place in the key by which chunks are cut.
    key_place: Option<u32>,
}

/// Looks a published table up; `None` where the publication does not carry it.
pub async fn shape(
    database: &Database,
    publication: &str,
    full_name: &str,
) -> Result<Option<PublishedShape>, DatabaseError> {
    let Some((schema, name)) = table_name::split(full_name) else { return Ok(None) };
    let (schema, name) = (&*schema, &*name);
    let sql = format!(
        "SELECT c.oid::bigint::text, c.relreplident::text, greatest(c.reltuples, 0)::bigint::text, a.attname, \
           CASE c.relreplident WHEN 'f' THEN true WHEN 'n' THEN false \
             ELSE coalesce(a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]), false) END::text, \
           a.atttypid::bigint::text, a.atttypmod::text, format_type(a.atttypid, a.atttypmod), \
           array_position((k.indkey::int2[])[0:k.indnkeyatts - 1], a.attnum)::text, coalesce(k.indnkeyatts, 0)::text \
         FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND a.attname = ANY(p.attnames) \
           AND (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000) \
         LEFT JOIN pg_index i ON i.indrelid = c.oid \
           AND (CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) \
         LEFT JOIN LATERAL (SELECT indkey, indnkeyatts FROM pg_index WHERE indrelid = c.oid AND (indisprimary OR indisreplident) \
           ORDER BY indisreplident DESC, indisprimary DESC LIMIT 1) k ON true \
         WHERE p.pubname = {} AND p.schemaname = {} AND p.tablename = {} ORDER BY a.attnum",
        literal(publication),
        literal(schema),
        literal(name)
    );
    let rows = database.texts(sql).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    Ok(Some(PublishedShape {
        id: number(first, 0)?,
        schema: schema.to_owned(),
        name: name.to_owned(),
        identity: required(first, 1, "a replica identity")?.bytes().next().unwrap_or(b'n'),
        rows_estimated: number(first, 2)?,
        key_columns: number(first, 9)?,
        columns: rows.iter().map(|row| column(row)).collect::<Result<_, _>>()?,
    }))
}

fn column(row: &[Option<String>]) -> Result<ShapeColumn, DatabaseError> {
    Ok(ShapeColumn {
        name: required(row, 3, "a column")?.to_owned(),
        in_identity: required(row, 4, "a column")? == "true",
        type_oid: number(row, 5)?,
        type_modifier: number(row, 6)?,
        sql_type: required(row, 7, "a type")?.to_owned(),
        key_place: row.get(8).and_then(Option::as_deref).map(|_| number(row, 8)).transpose()?,
    })
}

fn number<N: std::str::FromStr>(row: &[Option<String>], at: usize) -> Result<N, DatabaseError> {
    let text = required(row, at, "a number")?;
    text.parse().map_err(|_| DatabaseError::Answer { expected: "a number", answer: text.to_owned() })
}

impl PublishedShape {
    /// Indexes of the columns by whose values chunks are cut, in the key's order; none where there is no key, or
    /// not all of it is published.
    pub fn key(&self) -> Vec<usize> {
        let mut key: Vec<usize> = (0..self.columns.len()).filter(|at| self.columns[*at].key_place.is_some()).collect();
        key.sort_by_key(|at| self.columns[*at].key_place);
        if key.len() == self.key_columns { key } else { Vec::new() }
    }

    /// The rows that follow a key, each column as PostgreSQL's text: at most so many, and none beyond those that have so
    /// many bytes (a row of any size is read, and whatever comes in one fetch with it).
    pub async fn rows_after(
        &self,
        database: &Database,
        after: Option<&[String]>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<Chunk, DatabaseError> {
        let key = self.key();
        let names: Vec<String> = self.columns.iter().map(|column| identifier(&column.name)).collect();
        let ordered: Vec<&str> = key.iter().map(|at| names[*at].as_str()).collect();
        let from = match after {
            None => String::new(),
            Some(values) => {
                let value =
                    |(at, text): (&usize, &String)| format!("{}::{}", literal(text), self.columns[*at].sql_type);
                let values: Vec<String> = key.iter().zip(values).map(value).collect();
                format!("WHERE ({}) > ({})", ordered.join(", "), values.join(", "))
            }
        };
        let sql = format!(
            "DECLARE chunk NO SCROLL CURSOR FOR SELECT {} FROM {}.{} {from} ORDER BY {} LIMIT {rows_max}",
            names.join(", "),
            identifier(&self.schema),
            identifier(&self.name),
            ordered.join(", ")
        );
        let mut transaction = database.begin().await?;
        texts_on(&mut transaction, sql).await?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < rows_max && bytes < bytes_max {
            let fetched = texts_on(&mut transaction, format!("FETCH {FETCH_ROWS} FROM chunk")).await?;
            let is_last = fetched.len() < FETCH_ROWS;
            bytes += fetched.iter().flatten().flatten().map(String::len).sum::<usize>();
            rows.extend(fetched);
            if is_last {
                // The limit may have ended it.
                let is_end = rows.len() < rows_max;
                return Ok(Chunk { rows, bytes, is_end });
            }
        }
        Ok(Chunk { rows, bytes, is_end: false })
    }
}

/// Sends a signal through the log.
pub async fn send(database: &Database, signal: &Signal) -> Result<(), DatabaseError> {
    database.texts(format!("SELECT {}", messages(database.slot(), std::slice::from_ref(signal)))).await.map(drop)
}
