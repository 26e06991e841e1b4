//! The loader: a view's one SELECT, with the bounds of what its snapshot holds.

mod part;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use lockstep_process::Failure;
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::entry::{Kinds, Load, LoadError, Loaded, Loading};
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::shown::JsonFault;

use crate::database::{Database, DatabaseError, identifier, literal, required, table};
use crate::{catalog, epoch};
use part::Part;

/// Entities in one SELECT.
pub const ENTITIES_MAX: usize = 1_000;

/// Reads entities of every view. Clones share what they know.
#[derive(Clone)]
pub struct Loader {
    database: Database,
    views: Arc<BTreeMap<Arc<str>, ViewSql>>,
}

/// The parts of a view's SELECT that don't change.
struct ViewSql {
    select: String,
    joins: String,
    entity_kind: ColumnType,
    parts: Vec<Part>,
    root: String,
    key: String,
}

impl Loader {
    /// Looks the views' tables up in the database, and refuses what is not there.
    pub async fn prepare(database: &Database, policy: &Policy) -> Result<Self, Failure> {
        let mut views = BTreeMap::new();
        for view in policy.views.values().filter(|view| view.tier != TierName::L3) {
            views.insert(view.name.clone(), prepare(database, policy, view).await?);
        }
        Ok(Loader { database: database.clone(), views: Arc::new(views) })
    }

    /// The database that it reads.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Reads entities as the database has them now; an answer for each, in the order of asking.
    ///
    /// `high` is the insert LSN of the same plain SELECT: its snapshot was taken before, so it holds nothing beyond.
    pub async fn load(&self, view: &View, entities: &[String]) -> Result<Vec<Loaded>, DatabaseError> {
        let Some(sql) = self.views.get(&view.name) else { return Ok(Vec::new()) };
        let mut loaded = Vec::with_capacity(entities.len());
        for chunk in entities.chunks(ENTITIES_MAX) {
            let mut snapshot = None;
            loaded.extend(self.database.each(sql.select_of(chunk), |row| sql.loaded(row, &mut snapshot)).await?);
        }
        Ok(loaded)
    }

    /// The next entities of a view in key order: those after `after`, at most `limit`.
    pub async fn entities(&self, view: &View, after: Option<&str>, limit: usize) -> Result<Vec<String>, DatabaseError> {
        let Some(sql) = self.views.get(&view.name) else { return Ok(Vec::new()) };
        let (root, key) = (&sql.root, &sql.key);
        let after = after.map(|after| format!("WHERE r.{key} > {}", sql.typed(after))).unwrap_or_default();
        // All of them in one row: of a key alone, the row around it would cost the most.
        let select = format!(
            "SELECT coalesce(json_agg(page.key), '[]')::text FROM \
             (SELECT {} AS key FROM {root} AS r {after} ORDER BY r.{key} LIMIT {limit}) AS page",
            sql.text_of_key()
        );
        let keys = |row: &[Option<&str>]| {
            let fault = |error| DatabaseError::Answer { expected: "keys", answer: JsonFault::from(error).to_string() };
            serde_json::from_str::<Vec<Option<String>>>(required(row, 0, "keys")?).map_err(fault)
        };
        // A row of nobody is in no entry; such rows come last.
        let keys = self.database.each(select, keys).await?.into_iter().flatten().flatten();
        Ok(match sql.entity_kind {
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 | ColumnType::Text => keys.collect(),
            kind => keys.map(|key| kind.canonical(&key)).collect(),
        })
    }

    /// How many entities a view has.
    pub async fn count(&self, view: &View) -> Result<u64, DatabaseError> {
        let Some(sql) = self.views.get(&view.name) else { return Ok(0) };
        let rows = self.database.texts(format!("SELECT count(*)::text FROM {}", sql.root)).await?;
        let count = rows.first().and_then(|row| row[0].as_deref()).and_then(|text| text.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// The type of each field, for answers that tell numbers from texts.
    pub fn kinds(&self, view: &View) -> Kinds {
        let mut kinds = Kinds::default();
        let parts = self.views.get(&view.name).map_or(&[][..], |sql| &sql.parts);
        parts.iter().for_each(|part| part.tell(&mut kinds));
        kinds
    }
}

impl Load for Loader {
    fn load<'a>(&'a self, view: &'a View, entities: &'a [String]) -> Loading<'a> {
        Box::pin(async move { Loader::load(self, view, entities).await.map_err(|error| LoadError(error.to_string())) })
    }
}

/// An array's text: one literal for the parser, instead of one for each element.
fn array<'e>(elements: impl Iterator<Item = &'e String>) -> String {
    let mut text = String::from("{");
    for element in elements {
        if text.len() > 1 {
            text.push(',');
        }
        text.push('"');
        for c in element.chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('}');
    text
}

async fn prepare(database: &Database, policy: &Policy, view: &View) -> Result<ViewSql, Failure> {
    let refuse = |why: String| Failure::configuration(format!("view {}: {why}", view.name));
    let entity_key = &policy.groups[&view.group].entity_key;
    let (mut columns, mut joins) = (Vec::new(), String::new());
    let (mut parts, mut entity_kind) = (Vec::new(), ColumnType::Text);
    for (i, source) in view.sources.iter().enumerate() {
        let known =
            catalog::table(database, &source.table).await.map_err(|error| Failure::unavailable(error.to_string()))?;
        let column = |name: &str| {
            let missing = || refuse(format!("table {} has no column {name}", source.table));
            known.get(name).ok_or_else(|| missing().remedy("migrate the database, or correct the policy"))
        };
        let key = column(entity_key)?;
        let kinds: Vec<ColumnType> =
            source.columns.iter().map(|name| Ok(column(name)?.kind)).collect::<Result<_, Failure>>()?;
        if i == 0 {
            entity_kind = key.kind;
        }
        let row_kind = source.rows.as_ref().map(|rows| Ok::<_, Failure>(column(&rows.column)?.kind)).transpose()?;
        let part = Part { source: source.clone(), kinds, key_kind: key.kind, row_kind };
        columns.push(part.columns(i, entity_key, &key.sql_type));
        if row_kind.is_none() {
            let (table, name) = (table(&source.table), identifier(entity_key));
            joins.push_str(&format!(" LEFT JOIN {table} s{i} ON s{i}.{name} = k.e::{}", key.sql_type));
        }
        parts.push(part);
    }
    // Of the statement, not of an entity: the first row tells them.
    let now = ["lsn", "timeline", "epoch"].map(|name| format!("CASE WHEN k.n = 1 THEN now.{name} END")).join(", ");
    let select = format!(
        "SELECT k.e, {now}, {} FROM (SELECT pg_current_wal_insert_lsn()::text AS lsn, \
         substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS timeline, {}::text AS epoch) AS now CROSS JOIN unnest(",
        columns.join(", "),
        epoch::newest_of(database.slot())
    );
    let root = table(&view.sources[0].table);
    Ok(ViewSql { select, joins, entity_kind, parts, root, key: identifier(entity_key) })
}

/// Where the server stood that answered.
struct Snapshot {
    high: Position,
    timeline: String,
}

impl Snapshot {
    fn of(row: &[Option<&str>]) -> Result<Self, DatabaseError> {
        fn parsed<T: FromStr>(text: &str, expected: &'static str) -> Result<T, DatabaseError> {
            text.parse().map_err(|_| DatabaseError::Answer { expected, answer: text.to_owned() })
        }
        let lsn: Lsn = parsed(required(row, 1, "an LSN")?, "an LSN")?;
        let epoch: u16 = parsed(required(row, 3, "an epoch")?, "an epoch")?;
        Ok(Snapshot { high: Position::through(epoch, lsn), timeline: required(row, 2, "a timeline")?.to_owned() })
    }
}

impl ViewSql {
    fn select_of(&self, entities: &[String]) -> String {
        let named = literal(&array(entities.iter().filter(|entity| self.can_exist(entity))));
        // Numbers are read once, as such; of any other type the text itself decides (`Part::is_of`).
        let kind = match self.entity_kind {
            ColumnType::Int16 => "smallint",
            ColumnType::Int32 => "integer",
            ColumnType::Int64 => "bigint",
            _ => "text",
        };
        format!("{}{named}::{kind}[]) WITH ORDINALITY AS k(e, n){} ORDER BY k.n", self.select, self.joins)
    }

    /// A key that is not a value's own text names nothing: `007` is no alias of 7, whose changes would never reach it.
    /// Asking for what is no value of the key's type would be an error for the whole statement.
    fn can_exist(&self, entity: &str) -> bool {
        let number = |parsed: Option<i64>| parsed.is_some_and(|number| number.to_string() == entity);
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let named = match self.entity_kind {
            ColumnType::Int16 => number(entity.parse::<i16>().ok().map(i64::from)),
            ColumnType::Int32 => number(entity.parse::<i32>().ok().map(i64::from)),
            ColumnType::Int64 => number(entity.parse().ok()),
            ColumnType::Uuid => entity.len() == 36 && entity.bytes().all(|b| lower_hex(b) || b == b'-'),
            _ => !entity.contains('\0'),
        };
        named && !entity.ends_with(MARKER_SUFFIX)
    }

    /// A key of the root as the log has it: a cast to text cuts the blanks of a char(n).
    fn text_of_key(&self) -> String {
        match self.entity_kind {
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => format!("r.{}::text", self.key),
            _ => format!("CASE WHEN r.{0} IS NOT NULL THEN format('%s', r.{0}) END", self.key),
        }
    }

    fn typed(&self, entity: &str) -> String {
        match self.entity_kind {
            ColumnType::Int16 | ColumnType::Int32 | ColumnType::Int64 => format!("{}::bigint", literal(entity)),
            ColumnType::Uuid => format!("{}::uuid", literal(entity)),
            _ => literal(entity),
        }
    }

    /// One row of the answer. What the first one tells of the statement holds for all.
    fn loaded(&self, row: &[Option<&str>], snapshot: &mut Option<Snapshot>) -> Result<Loaded, DatabaseError> {
        let snapshot = match snapshot {
            Some(snapshot) => snapshot,
            None => snapshot.insert(Snapshot::of(row)?),
        };
        let (entity, mut rest) = (required(row, 0, "an entity")?, row.get(4..).unwrap_or_default());
        let (mut fields, mut present) = (Vec::with_capacity(rest.len()), true);
        for (i, part) in self.parts.iter().enumerate() {
            let (own, others) = rest.split_at_checked(part.width()).unwrap_or((rest, &[]));
            present &= i > 0 || part.is_of(own.first().copied().flatten(), entity);
            part.read(own, entity, &mut fields)?;
            rest = others;
        }
        Ok(Loaded {
            entity: entity.to_owned(),
            fields: present.then_some(fields),
            high: snapshot.high,
            timeline: snapshot.timeline.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_element_holds_it_is_one_element() {
        let all =
            |elements: &[&str]| array(elements.iter().map(|element| (*element).to_owned()).collect::<Vec<_>>().iter());
        assert_eq!(all(&[]), "{}");
        assert_eq!(all(&["7", "", "NULL", "a,b", "{c}", " d "]), r#"{"7","","NULL","a,b","{c}"," d "}"#);
        assert_eq!(all(&[r#"say "hi""#, r"back\slash", "it's"]), r#"{"say \"hi\"","back\\slash","it's"}"#);
    }
}
