//! The audit of a cache that is not ours: a shop's own keys, held against the database by two readings around a settling
//! time. It writes nothing, needs no slot and nothing of ours in the database.

mod cause;
mod file;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::shown::Shown;
use lockstep_source::database::{identifier, literal, table};
use serde::Serialize;
use sqlx::postgres::PgPool;

use crate::AuditError;
use crate::full::Step;
use crate::judge::Fields;
use crate::nodes::{self, Node};
use crate::rows;
pub use cause::Fate;
use cause::{Reading, differences, judge};
pub use file::Plan;
use file::{Keys, Kind};

const SCAN_COUNT: usize = 500;
/// Entries of one settling time.
const ENTRIES_PER_LOOK: usize = 1_000;
const LISTED_MAX: usize = 100;

/// What was found of one pattern's keys.
#[derive(Clone, Debug, Default, Serialize)]
pub struct OfPattern {
    /// `product:{id}`.
    pub pattern: String,
    /// By what became of them.
    pub results: BTreeMap<Fate, u64>,
}

impl OfPattern {
    /// Entries of one kind.
    pub fn count(&self, result: Fate) -> u64 {
        self.results.get(&result).copied().unwrap_or(0)
    }

    /// Entries that are wrong.
    pub fn wrong(&self) -> u64 {
        Fate::WRONG.into_iter().map(|result| self.count(result)).sum()
    }

    /// Entries that were held against a row.
    pub fn judged(&self) -> u64 {
        self.wrong() + self.count(Fate::Right)
    }
}

/// One wrong entry. Values are not told: nobody has said which are private.
#[derive(Clone, Debug, Serialize)]
pub struct WrongEntry {
    /// The key, or a mask.
    pub key: String,
    /// Why.
    pub result: Fate,
    /// Which fields differ.
    pub fields: Vec<String>,
    /// Seconds that it still lives; `null`: for ever.
    pub left_seconds: Option<u64>,
    /// Seconds since the row's last change, where that is known.
    pub changed_seconds_ago: Option<u64>,
}

/// All that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ShadowFindings {
    /// By pattern, in the file's order.
    pub patterns: Vec<OfPattern>,
    /// Some of the wrong entries.
    pub listed: Vec<WrongEntry>,
}

impl ShadowFindings {
    /// Entries that are wrong.
    pub fn wrong(&self) -> u64 {
        self.patterns.iter().map(OfPattern::wrong).sum()
    }
}

/// How a pattern's rows are read.
struct Query {
    tables: Vec<OfTable>,
}

struct OfTable {
    name: String,
    key: String,
    key_type: String,
    key_kind: ColumnType,
    /// Fields, their columns, and how they are written.
    fields: Vec<(String, String, ColumnType)>,
    changed_at: Option<String>,
    has_version: bool,
}

/// Version, key, seconds since the last change, then the columns.
type Texts = Vec<Option<String>>;

/// Looks at every entry of every pattern.
pub async fn shadow(
    database: &DatabaseConfig,
    plan: &Plan,
    mut told: impl FnMut(Step<'_>),
) -> Result<ShadowFindings, Failure> {
    let pool = rows::connect(database).await?;
    let mut findings = ShadowFindings::default();
    for keys in &plan.keys {
        let query = prepare(&pool, keys).await?;
        let mut of = OfPattern { pattern: keys.pattern.clone(), ..OfPattern::default() };
        let mut audit = OneAudit { pool: &pool, plan, keys, query: &query };
        audit.run(&mut of, &mut findings.listed, &mut told).await.map_err(Failure::from)?;
        findings.patterns.push(of);
    }
    Ok(findings)
}

struct OneAudit<'a> {
    pool: &'a PgPool,
    plan: &'a Plan,
    keys: &'a Keys,
    query: &'a Query,
}

impl OneAudit<'_> {
    async fn run(
        &mut self,
        of: &mut OfPattern,
        listed: &mut Vec<WrongEntry>,
        told: &mut impl FnMut(Step<'_>),
    ) -> Result<(), AuditError> {
        let glob: String =
            self.keys.head.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        for mut node in nodes::connect(&self.plan.redis, false, &nodes::Spent::default()).await? {
            let (size, mut done, mut cursor) = (node.size().await?, 0, 0);
            let (mut waiting, mut seen): (Vec<String>, BTreeSet<String>) = Default::default();
            loop {
                let (next, names) = node.scan(cursor, &format!("{glob}*"), SCAN_COUNT).await?;
                done += SCAN_COUNT as u64;
                let ours = names.into_iter().filter(|key| self.keys.entity(key).is_some());
                waiting.extend(ours.filter(|key| seen.insert(key.clone())));
                if waiting.len() >= ENTRIES_PER_LOOK || (next == 0 && !waiting.is_empty()) {
                    self.look(&mut node, &std::mem::take(&mut waiting), of, listed).await?;
                }
                told(Step { what: &self.keys.pattern, done: done.min(size), of: size });
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn look(
        &self,
        node: &mut Node,
        names: &[String],
        of: &mut OfPattern,
        listed: &mut Vec<WrongEntry>,
    ) -> Result<(), AuditError> {
        let first = self.read(node, names).await?;
        tokio::time::sleep(self.plan.settle).await;
        let second = self.read(node, names).await?;
        for ((key, first), second) in names.iter().zip(&first).zip(&second) {
            let result = judge(first, second, self.keys.ttl);
            *of.results.entry(result).or_default() += 1;
            if !Fate::WRONG.contains(&result) || listed.len() >= LISTED_MAX {
                continue;
            }
            let nothing = Fields::new();
            let fields = second.copy.as_ref().zip(Some(second.row.as_ref().unwrap_or(&nothing)));
            listed.push(WrongEntry {
                key: if self.keys.is_private { Shown::private(key).to_string() } else { key.clone() },
                result,
                fields: fields.map(|(copy, row)| differences(copy, row)).unwrap_or_default(),
                left_seconds: second.left.map(|left| left.as_secs()),
                changed_seconds_ago: second.changed_ago.map(|ago| ago.as_secs()),
            });
        }
        Ok(())
    }

    /// First the rows, then the entries.
    async fn read(&self, node: &mut Node, names: &[String]) -> Result<Vec<Reading>, AuditError> {
        let entities: Vec<&str> = names.iter().filter_map(|key| self.keys.entity(key)).collect();
        let rows = self.query.read(self.pool, &entities).await?;
        let entries = node.values(names, self.keys.kind == Kind::Hash).await?;
        let named = |fields: Fields| -> Fields {
            let is_named = |name: &String| {
                self.query.tables.iter().any(|table| table.fields.iter().any(|(field, ..)| field == name))
            };
            fields.into_iter().filter(|(name, _)| is_named(name)).collect()
        };
        let readings = rows.into_iter().zip(entries).map(|(mut reading, entry)| {
            reading.is_there = entry.is_there;
            reading.copy = entry.fields.map(named);
            reading.left = entry.left;
            reading
        });
        Ok(readings.collect())
    }
}

async fn prepare(pool: &PgPool, keys: &Keys) -> Result<Query, Failure> {
    let mut tables = Vec::new();
    for (name, fields) in &keys.tables {
        let columns = rows::columns(pool, name).await?;
        let known = |column: &str| {
            let what = format!("keys `{}`: there is no column {name}.{column}", keys.pattern);
            columns.get(column).ok_or_else(|| Failure::configuration(what).remedy("correct the file, or grant SELECT"))
        };
        let (key_kind, key_type) = known(&keys.key)?.clone();
        let kinds = fields.iter().map(|(field, column)| Ok((field.clone(), column.clone(), known(column)?.0)));
        let fields = kinds.collect::<Result<_, Failure>>()?;
        let changed_at = keys.changed_at.iter().find(|(of, _)| of == name).map(|(_, column)| column.clone());
        if let Some(column) = &changed_at {
            known(column)?;
        }
        let may = format!("SELECT has_table_privilege({}, 'SELECT')::text", literal(&table(name)));
        let has_version = rows::one(pool, may).await?.first().is_some_and(|may| may.as_deref() == Some("true"));
        let key = keys.key.clone();
        tables.push(OfTable { name: name.clone(), key, key_type, key_kind, fields, changed_at, has_version });
    }
    Ok(Query { tables })
}

impl Query {
    async fn read(&self, pool: &PgPool, entities: &[&str]) -> Result<Vec<Reading>, AuditError> {
        let Some(first) = self.tables.first() else { return Ok(Vec::new()) };
        let askable: Vec<String> = entities
            .iter()
            .filter(|entity| rows::can_exist(first.key_kind, entity))
            .map(|entity| literal(entity))
            .collect();
        let tables: Vec<String> = self.tables.iter().map(OfTable::select).collect();
        let sql = format!(
            "SELECT coalesce(json_agg(json_build_array(k.e, json_build_array({}))), '[]')::text \
             FROM unnest(ARRAY[{}]::text[]) AS k(e)",
            tables.join(", "),
            askable.join(",")
        );
        let row = rows::one(pool, sql).await?;
        let found: Vec<(String, Vec<Vec<Texts>>)> =
            serde_json::from_str(row.first().and_then(Option::as_deref).unwrap_or("[]"))
                .map_err(|_| AuditError::Answer("rows of an unexpected form came"))?;
        let found: HashMap<String, Vec<Vec<Texts>>> = found.into_iter().collect();
        Ok(entities.iter().map(|entity| self.reading(found.get(*entity))).collect())
    }

    fn reading(&self, parts: Option<&Vec<Vec<Texts>>>) -> Reading {
        let mut reading = Reading::default();
        let mut fields = Fields::new();
        let parts = parts.map_or(&[][..], Vec::as_slice);
        for (at, (table, rows)) in self.tables.iter().zip(parts).enumerate() {
            reading.is_ambiguous |= rows.len() > 1;
            let Some([version, changed, texts @ ..]) = rows.first().map(Vec::as_slice) else { continue };
            if at == 0 {
                reading.row = Some(Fields::new());
            }
            reading.version.push_str(&version.clone().unwrap_or_else(|| format!("{texts:?}")));
            reading.version.push('|');
            let seconds = changed.as_deref().and_then(|text| text.parse::<f64>().ok()).filter(|s| s.is_finite());
            let ago = seconds.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
            reading.changed_ago = reading.changed_ago.into_iter().chain(ago).min();
            for ((field, _, kind), text) in table.fields.iter().zip(texts) {
                if let Some(text) = text {
                    fields.insert(field.clone(), kind.canonical(text));
                }
            }
        }
        reading.row = reading.row.map(|_| fields);
        reading
    }
}

impl OfTable {
    fn select(&self) -> String {
        let key = identifier(&self.key);
        let version = if self.has_version { "r.tableoid::text || r.ctid::text || r.xmin::text" } else { "NULL::text" };
        let changed = self.changed_at.as_ref().map_or("NULL::text".to_owned(), |column| {
            format!("extract(epoch FROM now() - r.{})::text", identifier(column))
        });
        let mut parts = vec![version.to_owned(), changed];
        parts.extend(self.fields.iter().map(|(_, column, _)| {
            let column = identifier(column);
            format!("CASE WHEN r.{column} IS DISTINCT FROM NULL THEN format('%s', r.{column}) END")
        }));
        format!(
            "(SELECT coalesce(json_agg(ARRAY[{}]), '[]') FROM {} AS r WHERE r.{key} = k.e::{})",
            parts.join(", "),
            table(&self.name),
            self.key_type
        )
    }
}
