//! The one who writes: a transaction after the other, at a steady pace, while servers come and go. What was committed
//! is known exactly, also where the answer to a COMMIT was lost.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lockstep_schemas::position::Lsn;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use crate::harness::until;
use crate::shop::{Shop, WAIT_MAX};
use crate::tables::{Commit, Contents, RowChange, RowKey, TABLES, Table};

/// Changes a second, while faults happen.
const PACE: u32 = 1_500;
/// One transaction of so many is large.
const LARGE_OF: usize = 60;
const LARGE: std::ops::Range<usize> = 200..500;
const ENTITIES: i64 = 300;
const PARTS: i64 = 6;
/// The way back to a server that is away is tried so often.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

/// A writer at work.
pub struct Writer {
    written: Arc<AtomicUsize>,
    /// It stops once it has written so many changes; 0: not yet.
    enough: Arc<AtomicUsize>,
    thread: JoinHandle<Written>,
}

/// All that was committed, in order, and what the tables must hold.
#[derive(Default)]
pub struct Written {
    pub commits: Vec<Commit>,
    pub contents: Contents,
}

impl Writer {
    pub fn start(shop: &Shop) -> Self {
        let (written, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let options = PgConnectOptions::from_str(&shop.stack.endpoints().database_url).expect("a URL");
        let pen = Pen { options: options.disable_statement_logging(), connection: None };
        let (counted, stop) = (written.clone(), enough.clone());
        // Of its own, so that a test that fails leaves nothing that stumbles over the end of another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = thread::spawn(move || runtime.block_on(write(pen, &counted, &stop)));
        Writer { written, enough, thread }
    }

    /// Changes committed so far.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Waits until so many more changes have been committed.
    pub fn writes(&self, more: usize) {
        let goal = self.written() + more;
        let limit = WAIT_MAX + Duration::from_secs((more / PACE as usize) as u64);
        until("the shop to go on", limit, || (self.written() >= goal || self.thread.is_finished()).then_some(()));
        assert!(self.written() >= goal, "the writer has ended");
    }

    /// Waits for what the writer writes in so many seconds at its pace.
    pub fn writes_for(&self, seconds: u32) {
        self.writes((seconds * PACE) as usize);
    }

    /// Has it write on, at full speed, until there are this many changes; gives all.
    pub fn finish(self, at_least: usize) -> Written {
        self.enough.store(at_least, Ordering::SeqCst);
        self.thread.join().expect("a writer that goes on")
    }
}

async fn write(mut pen: Pen, counted: &AtomicUsize, enough: &AtomicUsize) -> Written {
    let mut written = Written::default();
    let (began, mut count) = (Instant::now(), 0_usize);
    for n in 0.. {
        let goal = enough.load(Ordering::SeqCst);
        if goal > 0 && count >= goal {
            break;
        }
        let planned = plan(&written.contents, n);
        if let Some(commit) = pen.commit(planned).await {
            commit.changes.iter().for_each(|change| change.apply(&mut written.contents));
            count += commit.changes.len();
            counted.store(count, Ordering::SeqCst);
            written.commits.push(commit);
        }
        if goal == 0 {
            let due = began + Duration::from_secs(1) * u32::try_from(count).expect("a count") / PACE;
            tokio::time::sleep_until(due.into()).await;
        }
    }
    written
}

/// The changes of the n-th transaction. The first is never a delete: its number tells whether all were committed.
fn plan(contents: &Contents, n: i64) -> Vec<RowChange> {
    let size = if fastrand::usize(..LARGE_OF) == 0 { fastrand::usize(LARGE) } else { fastrand::usize(1..7) };
    let one_table = (size >= LARGE.start).then(any_table);
    // What this transaction has changed so far; `None`: deleted.
    let mut seen: BTreeMap<RowKey, Option<i64>> = BTreeMap::new();
    let mut changes = Vec::with_capacity(size);
    for at in 0..size as i64 {
        let key = RowKey(one_table.unwrap_or_else(any_table), fastrand::i64(0..ENTITIES), fastrand::i64(0..PARTS));
        let known = seen.get(&key).copied().unwrap_or_else(|| contents.get(&key).copied());
        // Numbers of a transaction lie side by side, and no two changes share one.
        let number = n * 1_000 + at;
        let change = match known {
            Some(_) if at > 0 && fastrand::u8(..4) == 0 => RowChange::Delete(key),
            Some(_) => RowChange::Update(key, number),
            None => RowChange::Insert(key, number),
        };
        let is_delete = matches!(change, RowChange::Delete(_));
        seen.insert(key, (!is_delete).then_some(number));
        changes.push(change);
    }
    changes
}

fn any_table() -> Table {
    TABLES[fastrand::usize(..TABLES.len())]
}

/// What writes, over one connection at a time.
struct Pen {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Pen {
    /// Commits; `None` where the server went away before it had.
    async fn commit(&mut self, changes: Vec<RowChange>) -> Option<Commit> {
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

/// The tables as they are.
pub fn read_tables(shop: &Shop) -> Contents {
    let mut contents = Contents::new();
    for table in TABLES {
        let Table(name, column, _) = table;
        let rows = shop.sql(&format!("SELECT {column}, part, n FROM {name}"));
        for row in rows.lines() {
            let numbers: Vec<i64> = row.split('|').map(|number| number.parse().expect("a number")).collect();
            contents.insert(RowKey(table, numbers[0], numbers[1]), numbers[2]);
        }
    }
    contents
}
