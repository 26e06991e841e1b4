//! What a view's SELECT reads of one source, and the fields that come of it.

use std::sync::Arc;

use lockstep_schemas::column::ColumnType;
use lockstep_schemas::entry::{Fields, Kinds};
use lockstep_schemas::policy::{Rows, ViewSource};
use lockstep_schemas::shown::JsonFault;

use crate::database::{DatabaseError, identifier, table};

/// A source, and the types of what it reads.
pub(super) struct Part {
    pub source: ViewSource,
    /// Of its columns.
    pub kinds: Vec<ColumnType>,
    /// Of the entity key in this table.
    pub key_kind: ColumnType,
    /// Of the column that tells its rows apart, where it has many an entity.
    pub row_kind: Option<ColumnType>,
}

impl Part {
    /// Its columns in the SELECT. One row an entity: the entity key, then each column. Many: all of them in one JSON array
    /// of arrays, each with the entity key and the row's name before the columns.
    pub fn columns(&self, at: usize, entity_key: &str, sql_type: &str) -> String {
        let key = identifier(entity_key);
        let Some(rows) = &self.source.rows else {
            let columns = self.source.columns.iter().map(|column| format!(", s{at}.{}", identifier(column)));
            return format!("s{at}.{key}{}", columns.collect::<String>());
        };
        let name = identifier(&rows.column);
        // `format` writes what the log writes: a cast to text cuts the blanks of a char(n), and adds a mask to an inet.
        let text =
            |column: &str| format!("CASE WHEN r.{column} IS DISTINCT FROM NULL THEN format('%s', r.{column}) END");
        let texts: Vec<String> =
            [key.clone(), name.clone()].into_iter().chain(self.source.columns.iter().map(|c| identifier(c))).collect();
        let texts: Vec<String> = texts.iter().map(|column| text(column)).collect();
        format!(
            "(SELECT coalesce(json_agg(ARRAY[{}]), '[]')::text FROM {} r WHERE r.{key} = k.e::{sql_type} AND r.{name} IS DISTINCT FROM NULL)",
            texts.join(", "),
            table(&self.source.table)
        )
    }

    /// How many columns of the SELECT are its own.
    pub fn width(&self) -> usize {
        if self.source.rows.is_some() { 1 } else { 1 + self.source.columns.len() }
    }

    /// A type whose equality is not that of texts (citext, char(n)) finds a row under another name: that is no row of this
    /// entity, for its changes have that other name.
    pub fn is_of(&self, key: Option<&str>, entity: &str) -> bool {
        key.is_some_and(|key| self.key_kind.canonical(key) == entity)
    }

    /// Adds the fields that come of its part of a row of the answer.
    pub fn read(&self, own: &[Option<&str>], entity: &str, fields: &mut Fields) -> Result<(), DatabaseError> {
        let first = own.first().copied().flatten();
        match &self.source.rows {
            Some(rows) => self.many(rows, first.unwrap_or("[]"), entity, fields),
            None if !self.is_of(first, entity) => Ok(()),
            None => {
                let values = self.source.columns.iter().zip(&self.kinds).zip(&own[1..]);
                let field = |((name, kind), text): ((&Arc<str>, &ColumnType), &Option<&str>)| {
                    Some((name.clone(), kind.canonical((*text)?)))
                };
                fields.extend(values.filter_map(field));
                Ok(())
            }
        }
    }

    fn many(&self, rows: &Rows, json: &str, entity: &str, fields: &mut Fields) -> Result<(), DatabaseError> {
        let answer: Vec<Vec<Option<String>>> = serde_json::from_str(json).map_err(|error| DatabaseError::Answer {
            expected: "rows as JSON",
            answer: JsonFault::from(error).to_string(),
        })?;
        for row in answer.iter().filter(|row| self.is_of(row.first().and_then(Option::as_deref), entity)) {
            let [_, Some(name), texts @ ..] = row.as_slice() else { continue };
            let name = self.row_kind.unwrap_or(ColumnType::Text).canonical(name);
            let texts: Vec<Option<String>> =
                texts.iter().zip(&self.kinds).map(|(text, kind)| Some(kind.canonical(text.as_deref()?))).collect();
            fields.push((rows.field(&name), self.source.row_text(|at, _| texts.get(at)?.as_deref())));
        }
        Ok(())
    }

    /// Adds the types of its fields.
    pub fn tell(&self, kinds: &mut Kinds) {
        let own = self.source.columns.iter().cloned().zip(self.kinds.iter().copied());
        match &self.source.rows {
            Some(rows) => kinds.rows.push((rows.clone(), own.collect())),
            None => kinds.columns.extend(own),
        }
    }
}
