//! Snapshots beside changes: every row, never an older one after a newer one, and no beginning from nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_schemas::change::Op;
use lockstep_schemas::position::Position;
use lockstep_schemas::signal::Signal;
use lockstep_schemas::snapshot::{Finished, Snapshots};
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::chunk;
use rdkafka::Message as _;
use serde::Deserialize;
use sqlx::PgPool;

use crate::log::Log;
use crate::shop::Shop;

pub const ROWS: u32 = 6_000;
const ATTEMPTS_MAX: u32 = 10;
/// The shops' pace is 3,000 rows/s, so a snapshot takes two seconds.
pub const PACE: u32 = 3_000;

#[derive(Deserialize)]
struct Checkpoint {
    snapshots: Snapshots,
}

impl Shop {
    pub async fn ask(&self, signal: &Signal) {
        let sql = "SELECT pg_logical_emit_message(true, 'lockstep', $1)::text";
        let asked = sqlx::query(sql).bind(signal.to_json()).execute(&self.pool).await;
        asked.expect("a message in the log");
    }

    /// Ingest's newest word on snapshots.
    pub async fn snapshots(&self) -> Snapshots {
        let tail = Tail::open(&self.kafka, "test-checkpoint", topics::CHECKPOINT, Begin::Oldest).await;
        let (mut tail, mut newest) = (tail.expect("the checkpoint topic"), Snapshots::default());
        while let Some(message) = tail.next_before_end().await.expect("the checkpoint topic") {
            if let Some(value) = message.payload() {
                newest = serde_json::from_slice::<Checkpoint>(value).expect("a checkpoint").snapshots;
            }
        }
        newest
    }

    pub async fn finished(&self, id: &str) -> Finished {
        let look = async || self.snapshots().await.finished.into_iter().find(|one| one.id == id);
        self.until("the snapshot's end", look).await
    }
}

/// Names count up, keys come and go, now and then hundreds at once.
pub async fn write(pool: PgPool, ends: Arc<AtomicBool>) {
    let mut random = fastrand::Rng::with_seed(7);
    let mut version = 0_u64;
    while !ends.load(Ordering::SeqCst) {
        version += 1;
        let user = random.u32(1..=ROWS + 200);
        let sql = match random.u8(0..10) {
            0 => format!("DELETE FROM users WHERE user_id = {user}"),
            1 => format!(
                "INSERT INTO users VALUES ({user}, '{user}@example.org', 'v{version:010}') ON CONFLICT (user_id) DO NOTHING"
            ),
            2 => format!("UPDATE users SET name = 'v{version:010}' WHERE user_id BETWEEN {user} AND {user} + 300"),
            _ => format!("UPDATE users SET name = 'v{version:010}' WHERE user_id = {user}"),
        };
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.expect("a change");
    }
}

/// What a consumer has that begins with nothing: per key the newest row of the log, where what comes again after a kill is
/// passed over. It never goes backwards on the way.
pub fn consume(log: &Log) -> BTreeMap<String, String> {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut reached: BTreeMap<u32, Position> = BTreeMap::new();
    for seen in log.changes().filter(|seen| seen.group == "customers") {
        let change = seen.change();
        let before = reached.insert(seen.partition, change.position).filter(|before| *before >= change.position);
        if let Some(before) = before {
            reached.insert(seen.partition, before);
            continue;
        }
        if &*change.table != "public.users" {
            continue;
        }
        let key = change.row().and_then(|row| row.text("user_id")).expect("a key").to_owned();
        match (change.op, &change.after) {
            (Op::Delete, _) => drop(known.remove(&key)),
            (op, Some(after)) => {
                let name = after.text("name").expect("a name").to_owned();
                let before = known.insert(key.clone(), name.clone());
                assert!(
                    before.as_ref().is_none_or(|before| *before <= name),
                    "{key}: {name} by {op:?} after {before:?}"
                );
            }
            (_, None) => {}
        }
    }
    known
}

/// Begins a snapshot of `users` and holds it in its midst, by a lock that its next chunk waits for; its id, and the lock.
async fn begin_and_hold(shop: &Shop, tables: Vec<String>) -> (String, sqlx::Transaction<'static, sqlx::Postgres>) {
    for attempt in 1..=ATTEMPTS_MAX {
        let id = format!("third-{attempt}");
        shop.ask(&Signal::Snapshot { id: id.clone(), tables: tables.clone() }).await;
        let under_way = async || shop.snapshots().await.waiting.into_iter().find(|one| one.rows > 0);
        let finished = async || shop.snapshots().await.finished.iter().any(|one| one.id == id);
        let begun = async || (under_way().await.is_some() || finished().await).then_some(());
        shop.until("a part of the third", begun).await;
        let mut lock = shop.pool.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("a lock");
        if under_way().await.is_some_and(|one| one.id == id && one.rows < u64::from(ROWS) / 2) {
            return (id, lock);
        }
        // On a busy machine it may be through before we hold it.
        lock.rollback().await.expect("the lock is given up");
        shop.finished(&id).await;
    }
    panic!("no snapshot was slow enough to be held");
}

pub async fn a_snapshot_beside_changes(shop: &Shop) {
    shop.execute(&format!(
        "INSERT INTO users (user_id, email, name) SELECT n, n || '@example.org', 'v0' FROM generate_series(1, {ROWS}) n; \
         CREATE TABLE debezium_signal (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048)); \
         INSERT INTO products (product_id, name) SELECT n, 'bowl' FROM generate_series(1, 500) n"
    ))
    .await;
    let ingest = shop.start().await;
    let ends = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(shop.pool.clone(), ends.clone()));
    let tables = vec!["public.users".to_owned(), "public.nowhere".to_owned()];
    shop.ask(&Signal::Snapshot { id: "first".to_owned(), tables }).await;

    // Killed on the way, it goes on where it was.
    let under_way = async || shop.snapshots().await.waiting.first().filter(|one| one.rows > 1_000).cloned();
    let before = shop.until("a part of the snapshot", under_way).await;
    assert!(before.rows < u64::from(ROWS), "it is paced");
    ingest.crash().await;
    let ingest = shop.start().await;
    let finished = shop.finished("first").await;
    assert!(finished.rows < u64::from(ROWS) + 1_000, "{} rows: it began again", finished.rows);
    assert_eq!(finished.failed.iter().map(|(table, _)| table.as_str()).collect::<Vec<_>>(), ["public.nowhere"]);

    // As Debezium's users ask for one.
    shop.execute("ALTER PUBLICATION lockstep ADD TABLE debezium_signal").await;
    shop.execute(
        r#"INSERT INTO debezium_signal VALUES ('second', 'execute-snapshot', '{"data-collections": ["public\\.products"]}')"#,
    )
    .await;
    let second = shop.finished("second").await;
    assert_eq!(
        (second.rows, second.stopped),
        (shop.scalar::<i64>("SELECT count(*) FROM products").await as u64, false)
    );

    ends.store(true, Ordering::SeqCst);
    writer.await.expect("no panic");
    // One that is given up leaves nothing behind for the next.
    let users = || vec!["public.users".to_owned()];
    let (third, held) = begin_and_hold(shop, users()).await;
    shop.ask(&Signal::StopSnapshot { id: None }).await;
    shop.ask(&Signal::Snapshot { id: "fourth".to_owned(), tables: users() }).await;
    // The word is in the log; until ingest has read it, the snapshot may come to its end.
    let heard = async || shop.snapshots().await.waiting.iter().all(|one| one.id != third).then_some(());
    shop.until("the snapshot to be given up", heard).await;
    held.rollback().await.expect("the lock is given up");
    assert!(shop.finished(&third).await.stopped);
    let count = shop.scalar::<i64>("SELECT count(*) FROM users").await as u64;
    assert_eq!(shop.finished("fourth").await.rows, count, "it begins at the beginning");

    a_table_that_cannot_be_read_ends_alone(shop).await;
    let log = shop.log_now().await;
    ingest.stop().await;
    let read = log.changes().filter(|seen| seen.change().op == Op::Read && &*seen.change().table == "public.users");
    let read = read.inspect(|seen| assert_eq!(seen.envelope()["source"]["snapshot"], "incremental")).count();
    eprintln!("{read} rows by the snapshot, {} before the kill", before.rows);
    assert!(read > 3_000, "most rows did not change");
    let rows: Vec<(i64, String)> =
        sqlx::query_as("SELECT user_id, name FROM users").fetch_all(&shop.pool).await.expect("rows");
    let rows: BTreeMap<String, String> = rows.into_iter().map(|(key, name)| (key.to_string(), name)).collect();
    assert_eq!(consume(&log), rows);
}

/// A value that the server refuses to write as text, for good: the table is given up, and the next one read.
async fn a_table_that_cannot_be_read_ends_alone(shop: &Shop) {
    shop.execute(
        "CREATE TYPE kind AS ENUM ('a'); CREATE TABLE unreadable (id int PRIMARY KEY, kind kind); \
         INSERT INTO unreadable VALUES (1, 'a'); ALTER PUBLICATION lockstep ADD TABLE unreadable",
    )
    .await;
    shop.execute("DELETE FROM pg_enum WHERE enumtypid = 'kind'::regtype").await;
    let tables = vec!["public.unreadable".to_owned(), "public.products".to_owned()];
    shop.ask(&Signal::Snapshot { id: "fifth".to_owned(), tables }).await;
    let fifth = shop.finished("fifth").await;
    assert_eq!(fifth.rows, shop.scalar::<i64>("SELECT count(*) FROM products").await as u64);
    let [(table, why)] = &fifth.failed[..] else { panic!("{:?}", fifth.failed) };
    assert!(table == "public.unreadable" && why.contains("SQLSTATE"), "{table}: {why}");
}

/// Rows that grow along the key: a chunk ends where it has the bytes, however many rows were hoped for.
pub async fn a_chunk_ends_where_it_is_full(shop: &Shop) {
    const BYTES_MAX: usize = 1 << 20;
    const LARGE: usize = 100_000;
    shop.execute(&format!(
        "CREATE TABLE growing (id int PRIMARY KEY, x text); \
         INSERT INTO growing SELECT n, repeat('x', CASE WHEN n > 100 THEN {LARGE} ELSE 10 END) FROM generate_series(1, 300) n; \
         CREATE PUBLICATION growing FOR TABLE growing"
    ))
    .await;
    let database = shop.database().await;
    let shape = chunk::shape(&database, "growing", "public.growing").await.expect("an answer").expect("a table");
    let (mut after, mut sizes) = (None, Vec::new());
    loop {
        let read = shape.rows_after(&database, after.as_deref(), 4_096, BYTES_MAX).await.expect("rows");
        assert!(read.bytes < BYTES_MAX + 32 * (LARGE + 10), "{} bytes at once", read.bytes);
        sizes.push(read.rows.len());
        after = read.rows.last().map(|row| vec![row[0].clone().expect("a key")]);
        if read.is_end {
            break;
        }
    }
    assert_eq!(sizes.iter().sum::<usize>(), 300, "{sizes:?}");
    assert!(sizes.len() >= 6, "{sizes:?}");
    let read = shape.rows_after(&database, None, 50, BYTES_MAX).await.expect("rows");
    assert_eq!((read.rows.len(), read.is_end), (50, false), "more follow");
    shop.execute("DROP PUBLICATION growing; DROP TABLE growing").await;
}

/// Keys are compared as their column orders them, whatever stands in them.
pub async fn keys_of_any_collation_come_in_order(shop: &Shop) {
    let keys = ["B", "D", "a", "back\\slash", "c", "it's", "é"];
    let values: Vec<String> = keys.iter().map(|key| format!("('{}')", key.replace('\'', "''"))).collect();
    shop.execute(&format!(
        "CREATE TABLE collated (id text COLLATE \"POSIX\" PRIMARY KEY); INSERT INTO collated VALUES {}; \
         CREATE PUBLICATION collated FOR TABLE collated",
        values.join(",")
    ))
    .await;
    let database = shop.database().await;
    let shape = chunk::shape(&database, "collated", "public.collated").await.expect("an answer").expect("a table");
    let (mut after, mut found) = (None::<Vec<String>>, Vec::new());
    loop {
        let read = shape.rows_after(&database, after.as_deref(), 2, 1 << 20).await.expect("rows");
        found.extend(read.rows.iter().map(|row| row[0].clone().expect("a key")));
        after = found.last().map(|key| vec![key.clone()]);
        if read.is_end {
            break;
        }
    }
    assert_eq!(found, keys);
    shop.execute("DROP PUBLICATION collated; DROP TABLE collated").await;
}
