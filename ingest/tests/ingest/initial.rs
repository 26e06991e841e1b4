//! `[ingest] snapshot = "initial"`: a consumer that begins with nothing has everything, from the first record on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockstep_schemas::change::Op;

use crate::log::Log;
use crate::shop::Shop;
use crate::snapshots::{ROWS, consume, write};

/// Rows of every table. Those of `users` change all the time, the others never.
const FILL: &str = "
    INSERT INTO products (product_id, name) SELECT 'P-' || n, 'bowl' FROM generate_series(1, 40) AS n;
    INSERT INTO prices (product_id, price_pence) SELECT product_id, 7 FROM products;
    INSERT INTO inventory (product_id, stock) SELECT product_id, 7 FROM products;
    INSERT INTO users (user_id, email, name) SELECT n, n || '@example.org', 'quiet' FROM generate_series(900001, 900030) AS n;
    INSERT INTO preferences SELECT user_id, 'p', 'x' FROM users WHERE user_id > 900000;
    INSERT INTO carts (user_id) SELECT user_id FROM users WHERE user_id > 900000;
    INSERT INTO cart_lines (user_id, product_id, quantity, price_pence) SELECT user_id, 'P-1', 1, 7 FROM carts;
    INSERT INTO orders (user_id) SELECT user_id FROM users WHERE user_id > 900000;
    INSERT INTO order_lines SELECT order_id, 1, 'P-1', 1, 7, now() FROM orders";

pub async fn an_epoch_begins_with_a_snapshot(shop: &Shop) {
    shop.execute(FILL).await;
    shop.execute(&format!(
        "INSERT INTO users (user_id, email, name) SELECT n, n || '@example.org', 'v0' FROM generate_series(1, {ROWS}) AS n"
    ))
    .await;
    // Writes before the slot is made, while it is, and while the rows are read.
    let ends = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(shop.pool.clone(), ends.clone()));
    let written = "SELECT max(name) FROM users WHERE name LIKE 'v%'";
    shop.until("a first change", async || (shop.scalar::<String>(written).await != "v0").then_some(())).await;
    let ingest = shop.start().await;
    let first = shop.finished("epoch-1").await;
    ends.store(true, Ordering::SeqCst);
    writer.await.expect("no panic");
    assert_eq!((first.stopped, first.failed), (false, Vec::new()));

    let log = shop.log_now().await;
    assert_eq!(consume(&log), names(shop).await, "a consumer of the log alone has what the database has");
    every_quiet_row_is_read(shop, &log, 1).await;
    ingest.stop().await;

    // The same history once more: nothing is read again.
    let ingest = shop.start().await;
    shop.commit("UPDATE products SET name = 'jug' WHERE product_id = 'P-1'").await;
    ingest.stop().await;
    let snapshots = shop.snapshots().await;
    assert_eq!((snapshots.waiting.len(), snapshots.finished.len()), (0, 1), "{snapshots:?}");

    // Another history: everything is.
    shop.execute("SELECT pg_drop_replication_slot('lockstep')").await;
    let ingest = shop.start().await;
    let second = shop.finished("epoch-2").await;
    let log = shop.log_now().await;
    ingest.stop().await;
    assert_eq!((second.stopped, second.failed), (false, Vec::new()));
    every_quiet_row_is_read(shop, &log, 2).await;
    let count = |epoch| reads(&log).filter(|(of, _, _)| *of == epoch).count() as u64;
    assert!(count(1) <= first.rows && count(1) > u64::from(ROWS) / 2, "{} of {}", count(1), first.rows);
    assert_eq!(count(2), second.rows, "nobody wrote");
}

/// Users' names, by id.
async fn names(shop: &Shop) -> BTreeMap<String, String> {
    let rows = sqlx::query_as("SELECT user_id::text, name FROM users").fetch_all(&shop.pool).await;
    rows.expect("rows").into_iter().collect()
}

/// Rows that came by a snapshot: epoch, table and key.
fn reads(log: &Log) -> impl Iterator<Item = (u16, &str, String)> {
    let read = log.changes().filter(|seen| seen.change().op == Op::Read);
    read.map(|seen| (seen.change().position.epoch, &*seen.change().table, format!("{:?}", seen.key)))
}

/// Each row that did not change, once, and in this epoch.
async fn every_quiet_row_is_read(shop: &Shop, log: &Log, epoch: u16) {
    for table in shop.policy_tables() {
        let quiet = if table == "public.users" { "user_id > 900000" } else { "true" };
        let rows: i64 = shop.scalar(&format!("SELECT count(*) FROM {table} WHERE {quiet}")).await;
        let is_quiet = |key: &str| table != "public.users" || key.contains("9000");
        let read: Vec<String> = reads(log)
            .filter(|(of, from, key)| (*of, *from) == (epoch, table) && is_quiet(key))
            .map(|(_, _, key)| key)
            .collect();
        let keys: BTreeSet<&String> = read.iter().collect();
        assert!(rows > 0, "{table}");
        assert_eq!((keys.len() as i64, read.len() as i64), (rows, rows), "{table} in epoch {epoch}");
    }
}
