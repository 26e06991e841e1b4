//! What the writer writes with. What was committed is known exactly, also where the answer to a COMMIT was lost.

use std::str::FromStr as _;
use std::time::Duration;

use lockstep_schemas::position::Lsn;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use crate::tables::{Commit, Contents, RowChange, RowKey, Table};

/// The way back to a server that is away is tried so often.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

/// What writes, over one connection at a time.
pub struct Pen {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Pen {
    pub fn of(url: &str) -> Self {
        let options = PgConnectOptions::from_str(url).expect("a URL");
        Pen { options: options.disable_statement_logging(), connection: None }
    }

    /// Commits; `None` where the server went away before it had.
    pub async fn commit(&mut self, changes: Vec<RowChange>) -> Option<Commit> {
        let mut connection = self.connected().await;
        let begun = "BEGIN; SELECT pg_current_xact_id()::text, pg_current_wal_insert_lsn()::text";
        let Ok(row) = sqlx::raw_sql(begun).fetch_one(&mut connection).await else { return None };
        let (xid, after): (String, String) = (row.get(0), row.get(1));
        let xid = xid.parse::<u64>().expect("a transaction id") as u32;
        let after = after.parse::<Lsn>().expect("an LSN").0;
        let mut statements: String = changes.iter().map(statement).collect();
        statements.push_str("COMMIT");
        let committed = match sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await {
            Ok(_) => {
                self.connection = Some(connection);
                true
            }
            // Only a server that is away may refuse.
            Err(sqlx::Error::Database(error)) if !is_going_down(&*error) => panic!("the writer: {error}"),
            Err(_) => self.is_there(&changes).await,
        };
        committed.then_some(Commit { xid, after, changes })
    }

    /// Whether a transaction of ours, the newest, was committed: its newest numbers stand in the tables.
    async fn is_there(&mut self, changes: &[RowChange]) -> bool {
        let mut last = Contents::new();
        changes.iter().for_each(|change| change.apply(&mut last));
        loop {
            let mut connection = self.connected().await;
            let deleted = changes.iter().map(RowChange::key).find(|key| !last.contains_key(key));
            let sql = match (last.first_key_value(), deleted) {
                (Some((RowKey(table, entity, part), n)), _) => {
                    let Table(name, column, _) = table;
                    format!("SELECT count(*) FROM {name} WHERE {column} = {entity} AND part = {part} AND n = {n}")
                }
                (None, Some(RowKey(Table(name, column, _), entity, part))) => {
                    format!("SELECT 1 - count(*) FROM {name} WHERE {column} = {entity} AND part = {part}")
                }
                (None, None) => return false,
            };
            if let Ok(row) = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut connection).await {
                self.connection = Some(connection);
                return row.get::<i64, _>(0) == 1;
            }
        }
    }

    async fn connected(&mut self) -> PgConnection {
        if let Some(connection) = self.connection.take() {
            return connection;
        }
        loop {
            match self.options.connect().await {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(AWAY_PAUSE).await,
            }
        }
    }
}

/// `57P01` to `57P03`: shut down, crashed, or not up yet.
fn is_going_down(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P"))
}

fn statement(change: &RowChange) -> String {
    let RowKey(Table(name, column, _), entity, part) = change.key();
    match change {
        RowChange::Insert(_, n) => format!("INSERT INTO {name} VALUES ({entity}, {part}, {n});"),
        RowChange::Update(_, n) => format!("UPDATE {name} SET n = {n} WHERE {column} = {entity} AND part = {part};"),
        RowChange::Delete(_) => format!("DELETE FROM {name} WHERE {column} = {entity} AND part = {part};"),
    }
}
