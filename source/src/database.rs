//! The connection to the catalogue database.

use std::io::ErrorKind;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::{DatabaseConfig, Url};
use lockstep_schemas::table_name::split;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, Postgres, Row as _, Transaction, ValueRef as _};

use crate::sql_error::SqlError;

/// Connections that one process opens at most.
const CONNECTIONS_MAX: u32 = 12;
/// A database that takes longer for one of our questions is away; a host that vanished never answers at all.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
const ACQUIRE_WAIT_MAX: Duration = Duration::from_secs(5);

/// Session settings under which a value's text is the canonical one that the log carries, and every row is there.
pub const SESSION: [(&str, &str); 6] = [
    ("timezone", "UTC"),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    // Rows that the log has must not be hidden: the server refuses instead.
    ("row_security", "off"),
];

/// A question to the database that went wrong.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The database or the way to it.
    #[error("the database: {0}")]
    Sql(SqlError),
    /// No answer in time.
    #[error("the database: no answer within {ANSWER_WAIT_MAX:?}")]
    Silent,
    /// An answer that is not of the form that it must have.
    #[error("the database answered {answer} where {expected} was expected")]
    Answer {
        /// What was expected.
        expected: &'static str,
        /// What came.
        answer: String,
    },
}

impl DatabaseError {
    /// Whether the server refuses for a reason that an operator has to mend: a missing right, too few slots, a wrong
    /// `wal_level`.
    pub fn is_refusal(&self) -> bool {
        const OF_CONFIGURATION: [&str; 3] = ["42501", "53400", "55000"];
        let DatabaseError::Sql(error) = self else { return false };
        error.code().is_some_and(|code| OF_CONFIGURATION.contains(&code.as_str()))
    }

    /// Whether the server refuses this statement for what lies in a table or a setting. Not: for an end of the connection,
    /// for what others do at the same time, for lack of resources, or as a standby.
    pub fn is_of_statement(&self) -> bool {
        const OF_THE_HOUR: [&str; 8] = ["08", "25", "28", "3D", "40", "53", "55", "57P"];
        let DatabaseError::Sql(error) = self else { return false };
        error.code().is_some_and(|code| !OF_THE_HOUR.iter().any(|class| code.starts_with(class)))
    }

    /// Whether a right is missing: no attempt will do better until somebody grants it.
    pub fn is_forbidden(&self) -> bool {
        const INSUFFICIENT_PRIVILEGE: &str = "42501";
        let DatabaseError::Sql(error) = self else { return false };
        error.code().is_some_and(|code| code == INSUFFICIENT_PRIVILEGE)
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::Sql(error.into())
    }
}

/// The catalogue database. Clones share their connections.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    slot: Arc<str>,
}

impl Database {
    /// Connects once, so that what is wrong is said at the start.
    pub async fn connect(config: &DatabaseConfig, application: &str) -> Result<Self, Failure> {
        let refuse = || Failure::configuration("the database URL can't be read");
        let options =
            PgConnectOptions::from_str(config.url.expose()).map_err(|error| refuse().because(SqlError::from(error)))?;
        // A statement holds keys; a slow one would be logged.
        let options = options.application_name(application).statement_cache_capacity(0).disable_statement_logging();
        let options = options.options(SESSION);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(ACQUIRE_WAIT_MAX);
        let pool = pool.connect_with(options).await.map_err(|error| explain(&config.url, error))?;
        Ok(Database { pool, slot: config.slot.as_str().into() })
    }

    /// The slot that feeds this installation: it tells our epochs from those of others who follow the same database.
    pub(crate) fn slot(&self) -> &str {
        &self.slot
    }

    /// Runs one simple query and gives each row's columns as PostgreSQL's text.
    pub(crate) async fn texts(&self, sql: String) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        self.each(sql, owned).await
    }

    /// As [`Database::texts`], where there are many: makes something of each row, whose texts are lent.
    pub(crate) async fn each<T>(
        &self,
        sql: String,
        make: impl FnMut(&[Option<&str>]) -> Result<T, DatabaseError>,
    ) -> Result<Vec<T>, DatabaseError> {
        let asked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&self.pool);
        made_of(tokio::time::timeout(ANSWER_WAIT_MAX, asked).await.map_err(|_| DatabaseError::Silent)??, make)
    }

    /// Runs statements that return nothing.
    pub(crate) async fn execute(&self, sql: String) -> Result<(), DatabaseError> {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await?;
        Ok(())
    }

    /// Begins a transaction. Dropped, it is rolled back.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>, DatabaseError> {
        Ok(self.pool.begin().await?)
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// As [`Database::texts`], on one connection.
pub(crate) async fn texts_on(
    connection: &mut PgConnection,
    sql: String,
) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
    let asked = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection);
    let rows = tokio::time::timeout(ANSWER_WAIT_MAX, asked).await.map_err(|_| DatabaseError::Silent)??;
    made_of(rows, owned)
}

fn owned(texts: &[Option<&str>]) -> Result<Vec<Option<String>>, DatabaseError> {
    Ok(texts.iter().map(|text| text.map(str::to_owned)).collect())
}

fn made_of<T>(
    rows: Vec<PgRow>,
    mut make: impl FnMut(&[Option<&str>]) -> Result<T, DatabaseError>,
) -> Result<Vec<T>, DatabaseError> {
    let (mut all, mut texts) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in &rows {
        texts.clear();
        for at in 0..row.len() {
            let value = row.try_get_raw(at)?;
            let text = || value.as_str().map_err(|error| sqlx::Error::Decode(error.to_string().into()));
            texts.push(if value.is_null() { None } else { Some(text()?) });
        }
        all.push(make(&texts)?);
    }
    Ok(all)
}

/// A column that must not be null.
pub(crate) fn required<'r>(
    row: &'r [Option<impl AsRef<str>>],
    at: usize,
    expected: &'static str,
) -> Result<&'r str, DatabaseError> {
    let text = row.get(at).and_then(Option::as_ref).map(AsRef::as_ref);
    text.ok_or(DatabaseError::Answer { expected, answer: "null".to_owned() })
}

/// An identifier, quoted.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.table`, quoted.
pub fn table(full_name: &str) -> String {
    let (schema, name) = split(full_name).unwrap_or_else(|| ("public".into(), full_name.into()));
    format!("{}.{}", identifier(&schema), identifier(&name))
}

/// A text without NUL, in a form that no setting and no content can turn into anything else. Beside a column it is compared as
/// the column is: a text that a function gives may have a collation of its own, whose order is another, and no index has it.
pub fn literal(text: &str) -> String {
    format!("E'{}'::text", text.replace('\\', r"\\").replace('\'', "''"))
}

/// Why a first connection failed: what an operator must mend, or a database that is away.
pub fn explain(url: &Url, error: sqlx::Error) -> Failure {
    let distrust = is_distrust(url, &error);
    let error = SqlError::from(error);
    if distrust {
        return Failure::configuration(format!("{url}: no encrypted connection that we trust")).because(error).remedy(
            "check sslmode and sslrootcert in the database URL, and that it names the host as the certificate does",
        );
    }
    let code = error.code();
    match code.as_deref() {
        Some("28000") => Failure::configuration(format!("{url} does not let us in"))
            .because(error)
            .remedy("check pg_hba.conf, and user and sslmode in LOCKSTEP_DATABASE_URL"),
        Some("28P01") => Failure::configuration(format!("{url} refuses our user or password"))
            .because(error)
            .remedy("check user and password in LOCKSTEP_DATABASE_URL, and pg_hba.conf"),
        Some("3D000") => Failure::configuration(format!("{url}: there is no such database"))
            .remedy("check the database's name in LOCKSTEP_DATABASE_URL"),
        _ => Failure::unavailable(format!("can't reach the database at {url}"))
            .because(error)
            .remedy("check that PostgreSQL runs there and that LOCKSTEP_DATABASE_URL is right"),
    }
}

/// Whether TLS failed by what was configured: the certificate that the server shows, or the authorities that we are told
/// to trust. Both come as failed input and output.
fn is_distrust(url: &Url, error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) if error.kind() == ErrorKind::InvalidData => true,
        sqlx::Error::Io(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            url.expose().contains("sslrootcert=")
        }
        _ => false,
    }
}
