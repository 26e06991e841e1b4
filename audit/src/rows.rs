//! What the database says, by statements of the auditor's own: one plain SELECT for many entities of a view, so that one
//! snapshot holds all of its rows, with the position at which it was taken in the same statement.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::column::ColumnType;
use lockstep_schemas::policy::{Policy, View, ViewSource};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_source::database::{SESSION, explain, identifier, literal, table};
use lockstep_source::epoch;
use lockstep_source::sql_error::SqlError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use crate::AuditError;
use crate::judge::{Fields, Row};

const CONNECTIONS_MAX: u32 = 2;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);

/// The database, and how each view is read from it.
pub(crate) struct Rows {
    pool: PgPool,
    /// SQL for the newest epoch of our slot.
    epoch: String,
    views: BTreeMap<Arc<str>, OfView>,
    spent: Spent,
}

/// What the database was asked, and what it took.
#[derive(Default)]
struct Spent {
    copies: AtomicU64,
    micros: AtomicU64,
}

/// The database at one moment.
pub(crate) struct Now {
    /// Where the next record of the log goes.
    pub position: Position,
    /// What its sessions have spent with statements, ours among them, since it counts.
    pub busy_micros: u64,
}

struct OfView {
    sources: Vec<Source>,
    entity_key: Arc<str>,
}

/// One table of a view.
struct Source {
    of: ViewSource,
    key_type: String,
    key_kind: ColumnType,
    kinds: Vec<ColumnType>,
    row_kind: Option<ColumnType>,
    /// Whether we may read which version of a row is there; the values stand in for it where we may not.
    has_version: bool,
}

/// A row of a source: its version, the entity, its name among the entity's rows, then the columns.
type Texts = Vec<Option<String>>;

impl Rows {
    pub async fn connect(config: &DatabaseConfig, policy: &Policy) -> Result<Self, Failure> {
        let pool = connect(config).await?;
        let mut views = BTreeMap::new();
        for view in policy.views.values() {
            let entity_key = policy.groups[&view.group].entity_key.clone();
            let mut sources = Vec::new();
            for source in &view.sources {
                sources.push(prepare(&pool, view, source, &entity_key).await?);
            }
            views.insert(view.name.clone(), OfView { sources, entity_key });
        }
        let epoch = epoch::newest_of(&config.slot);
        Ok(Rows { pool, epoch, views, spent: Spent::default() })
    }

    /// One reading of many entities: an answer for each, in the order of asking.
    pub async fn read(&self, view: &View, entities: &[&str]) -> Result<Vec<Row>, AuditError> {
        let Some(of) = self.views.get(&view.name) else { return Ok(Vec::new()) };
        let askable: Vec<&str> = entities.iter().copied().filter(|entity| of.can_exist(entity)).collect();
        let row = self.one(of.select(&askable, &self.epoch)).await?;
        self.spent.copies.fetch_add(entities.len() as u64, Ordering::Relaxed);
        let text = |at: usize| row.get(at).and_then(Option::as_deref).ok_or(AuditError::Answer(NO_POSITION));
        let lsn: Lsn = text(0)?.parse().map_err(|_| AuditError::Answer(NO_POSITION))?;
        let epoch: u16 = text(1)?.parse().map_err(|_| AuditError::Answer(NO_POSITION))?;
        // A commit record lies before the place where the next one goes.
        let read_at = Position::before(epoch, lsn);
        let found: Vec<(String, Vec<Vec<Texts>>)> =
            serde_json::from_str(text(2)?).map_err(|_| AuditError::Answer("rows of an unexpected form came"))?;
        let mut found: HashMap<String, Vec<Vec<Texts>>> = found.into_iter().collect();
        let answer = |entity: &&str| {
            let (fields, version) = of.row(entity, found.remove(*entity).unwrap_or_default());
            Row { fields, version, read_at }
        };
        Ok(entities.iter().map(answer).collect())
    }

    /// The next entities of a view, after one, in the order of their keys.
    pub async fn entities(&self, view: &View, after: Option<&str>, limit: usize) -> Result<Vec<String>, AuditError> {
        let Some((of, root)) = self.views.get(&view.name).and_then(|of| Some((of, of.sources.first()?))) else {
            return Ok(Vec::new());
        };
        let (key, from) = (identifier(&of.entity_key), table(&root.of.table));
        let after = after.map(|after| format!("WHERE {key} > {}::{}", literal(after), root.key_type));
        let sql = format!(
            "SELECT coalesce(json_agg(k::text ORDER BY k), '[]')::text FROM \
             (SELECT {key} AS k FROM {from} {} ORDER BY {key} LIMIT {limit}) AS page",
            after.unwrap_or_default()
        );
        let row = self.one(sql).await?;
        let page: Vec<String> = serde_json::from_str(row.first().and_then(Option::as_deref).unwrap_or("[]"))
            .map_err(|_| AuditError::Answer("keys of an unexpected form came"))?;
        Ok(page.iter().map(|key| root.key_kind.canonical(key)).collect())
    }

    /// How many entities a view has, as the planner last estimated it; for progress bars.
    pub async fn estimate(&self, view: &View) -> Result<u64, AuditError> {
        let Some(root) = view.sources.first() else { return Ok(0) };
        let sql = format!(
            "SELECT greatest(reltuples, 0)::bigint::text FROM pg_class WHERE oid = to_regclass({})",
            literal(&table(&root.table))
        );
        let row = self.one(sql).await?;
        Ok(row.first().and_then(Option::as_deref).and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    /// The database as it is now.
    pub async fn now(&self) -> Result<Now, AuditError> {
        let sql = format!(
            "SELECT pg_current_wal_insert_lsn()::text, {}::text, \
             (SELECT (active_time * 1000)::bigint FROM pg_stat_database WHERE datname = current_database())::text",
            self.epoch
        );
        let row = self.one(sql).await?;
        let text = |at: usize| row.get(at).and_then(Option::as_deref).ok_or(AuditError::Answer(NO_POSITION));
        let lsn: Lsn = text(0)?.parse().map_err(|_| AuditError::Answer(NO_POSITION))?;
        let epoch: u16 = text(1)?.parse().map_err(|_| AuditError::Answer(NO_POSITION))?;
        Ok(Now { position: Position::before(epoch, lsn), busy_micros: text(2)?.parse().unwrap_or(0) })
    }

    /// Copies that were asked for, and the microseconds that statements of ours took, so far.
    pub fn spent(&self) -> (u64, u64) {
        (self.spent.copies.load(Ordering::Relaxed), self.spent.micros.load(Ordering::Relaxed))
    }

    async fn one(&self, sql: String) -> Result<Texts, AuditError> {
        let began = Instant::now();
        let row = one(&self.pool, sql).await;
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.spent.micros.fetch_add(micros, Ordering::Relaxed);
        row
    }
}

const NO_POSITION: &str = "the database has told no position: there is no epoch yet; start ingest";

/// Asking for what is no value of the key's type would be an error for the whole statement.
pub(crate) fn can_exist(kind: ColumnType, entity: &str) -> bool {
    let is_uuid = || {
        let is_in_place = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        entity.len() == 36 && entity.bytes().enumerate().all(is_in_place)
    };
    match kind {
        ColumnType::Int16 => entity.parse::<i16>().is_ok(),
        ColumnType::Int32 => entity.parse::<i32>().is_ok(),
        ColumnType::Int64 => entity.parse::<i64>().is_ok(),
        ColumnType::Uuid => is_uuid(),
        ColumnType::Text => !entity.contains('\0'),
        // Keys of such types are rare; one that is no value of them names no row.
        _ => !entity.contains('\0') && !entity.is_empty(),
    }
}

/// One connection's settings under which a value's text is the canonical one.
pub(crate) async fn connect(config: &DatabaseConfig) -> Result<PgPool, Failure> {
    let unreadable = || Failure::configuration("the database URL can't be read");
    let options =
        PgConnectOptions::from_str(config.url.expose()).map_err(|e| unreadable().because(SqlError::from(e)))?;
    let options = options.application_name("lockstep-audit").statement_cache_capacity(0).disable_statement_logging();
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(ANSWER_WAIT_MAX);
    pool.connect_with(options.options(SESSION)).await.map_err(|error| explain(&config.url, error))
}

/// A statement of one row, by a simple query: values come in PostgreSQL's own text.
pub(crate) async fn one(pool: &PgPool, sql: String) -> Result<Texts, AuditError> {
    let asked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(pool);
    let late = |_| AuditError::Answer("the database has not answered in time");
    let row = tokio::time::timeout(ANSWER_WAIT_MAX, asked).await.map_err(late)??;
    (0..row.len()).map(|at| Ok(row.try_get_unchecked::<Option<String>, _>(at)?)).collect()
}

async fn prepare(pool: &PgPool, view: &View, source: &ViewSource, entity_key: &str) -> Result<Source, Failure> {
    let columns = columns(pool, &source.table).await?;
    let known = |name: &str| {
        let what = format!("view {}: table {} has no column {name}", view.name, source.table);
        columns
            .get(name)
            .ok_or_else(|| Failure::configuration(what).remedy("migrate the database, or correct the policy"))
    };
    let key = known(entity_key)?;
    let kinds = source.columns.iter().map(|name| Ok(known(name)?.0)).collect::<Result<_, Failure>>()?;
    let row_kind = source.rows.as_ref().map(|rows| Ok::<_, Failure>(known(&rows.column)?.0)).transpose()?;
    let may = format!("SELECT has_table_privilege({}, 'SELECT')::text", literal(&table(&source.table)));
    let has_version = one(pool, may).await?.first().is_some_and(|may| may.as_deref() == Some("true"));
    Ok(Source { of: source.clone(), key_type: key.1.clone(), key_kind: key.0, kinds, row_kind, has_version })
}

/// The columns of a table: what their texts look like, and their types in SQL.
pub(crate) async fn columns(pool: &PgPool, name: &str) -> Result<HashMap<String, (ColumnType, String)>, Failure> {
    let sql = format!(
        "SELECT coalesce(json_agg(json_build_array(attname, atttypid::bigint, atttypmod, \
         format_type(atttypid, atttypmod))), '[]')::text \
         FROM pg_attribute WHERE attrelid = to_regclass({}) AND attnum > 0 AND NOT attisdropped",
        literal(&table(name))
    );
    let row = one(pool, sql).await?;
    let found: Vec<(String, u32, i32, String)> =
        serde_json::from_str(row.first().and_then(Option::as_deref).unwrap_or("[]"))
            .map_err(|_| AuditError::Answer("columns of an unexpected form came"))?;
    Ok(found.into_iter().map(|(name, oid, m, sql_type)| (name, (ColumnType::from_oid(oid, m), sql_type))).collect())
}

impl OfView {
    fn select(&self, entities: &[&str], epoch: &str) -> String {
        let sources: Vec<String> = self.sources.iter().map(|source| source.select(&self.entity_key)).collect();
        let entities: Vec<String> = entities.iter().map(|entity| literal(entity)).collect();
        format!(
            "SELECT pg_current_wal_insert_lsn()::text, {epoch}::text, \
             (SELECT coalesce(json_agg(json_build_array(k.e, json_build_array({}))), '[]') \
              FROM unnest(ARRAY[{}]::text[]) AS k(e))::text",
            sources.join(", "),
            entities.join(",")
        )
    }

    fn can_exist(&self, entity: &str) -> bool {
        self.sources.first().is_some_and(|root| can_exist(root.key_kind, entity))
    }

    /// The fields of an entity, and which versions of which rows they are of.
    fn row(&self, entity: &str, parts: Vec<Vec<Texts>>) -> (Option<Fields>, String) {
        let (mut fields, mut versions, mut is_there) = (Fields::new(), Vec::new(), false);
        for (at, (source, rows)) in self.sources.iter().zip(parts).enumerate() {
            for row in rows {
                let [version, key, name, texts @ ..] = row.as_slice() else { continue };
                // A type with an equality of its own finds a row under another name: that one is another entity's.
                if key.as_deref().map(|key| source.key_kind.canonical(key)).as_deref() != Some(entity) {
                    continue;
                }
                is_there |= at == 0;
                versions.push(version.clone().unwrap_or_else(|| format!("{texts:?}")));
                source.add(name.as_deref(), texts, &mut fields);
            }
            versions.push("|".to_owned());
        }
        versions.sort();
        (is_there.then_some(fields), versions.join(" "))
    }
}

impl Source {
    /// All rows of an entity as a JSON array of arrays.
    fn select(&self, entity_key: &str) -> String {
        let key = identifier(entity_key);
        let text =
            |column: &str| format!("CASE WHEN r.{column} IS DISTINCT FROM NULL THEN format('%s', r.{column}) END");
        let version = if self.has_version { "r.tableoid::text || r.ctid::text || r.xmin::text" } else { "NULL::text" };
        let name = self.of.rows.as_ref().map_or("NULL::text".to_owned(), |rows| text(&identifier(&rows.column)));
        let mut parts = vec![version.to_owned(), text(&key), name];
        parts.extend(self.of.columns.iter().map(|column| text(&identifier(column))));
        format!(
            "(SELECT coalesce(json_agg(ARRAY[{}]), '[]') FROM {} AS r WHERE r.{key} = k.e::{})",
            parts.join(", "),
            table(&self.of.table),
            self.key_type
        )
    }

    fn add(&self, name: Option<&str>, texts: &[Option<String>], fields: &mut Fields) {
        let canonical: Texts =
            texts.iter().zip(&self.kinds).map(|(text, kind)| Some(kind.canonical(text.as_deref()?))).collect();
        match (&self.of.rows, name) {
            (Some(rows), Some(name)) => {
                let name = self.row_kind.unwrap_or(ColumnType::Text).canonical(name);
                let text = self.of.row_text(|at, _| canonical.get(at)?.as_deref());
                fields.insert(rows.field(&name).to_string(), text);
            }
            (Some(_), None) => {}
            (None, _) => {
                let named = self.of.columns.iter().zip(canonical);
                fields.extend(named.filter_map(|(column, text)| Some((column.to_string(), text?))));
            }
        }
    }
}
