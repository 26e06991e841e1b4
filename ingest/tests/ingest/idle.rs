//! An idle database beside a busy one: what others write is not kept for us.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::shop::Shop;

/// Longer than between three looks at the slot: at the first it still moves, for what was written at the start.
const QUIET_S: u32 = 23;
const BUSY_TABLE: &str = "CREATE TABLE busy AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 1000)";

/// Messages in this database's log that say nothing but that it moves.
async fn heartbeats(shop: &Shop) -> i64 {
    shop.scalar(
        "SELECT count(*) FROM pg_logical_slot_peek_binary_changes('watcher', NULL, NULL, 'proto_version', '1', \
           'publication_names', 'lockstep', 'messages', 'true') \
         WHERE get_byte(data, 0) = ascii('M') AND position('heartbeat'::bytea IN data) > 0",
    )
    .await
}

pub async fn what_others_write_passes_by(shop: &Shop) {
    shop.execute("CREATE DATABASE busy").await;
    let url = shop.database_url().replace("/shop", "/busy");
    let mut busy = PgConnection::connect(&url).await.expect("a connection");
    let ingest = shop.start().await;
    shop.execute("SELECT pg_create_logical_replication_slot('watcher', 'pgoutput')").await;

    let passed = format!(
        "SELECT (clock_timestamp() > backend_start + interval '{QUIET_S} s')::int FROM pg_stat_replication \
         WHERE application_name = 'lockstep-ingest'"
    );
    shop.until("time to pass", async || (shop.scalar::<i32>(&passed).await == 1).then_some(())).await;
    assert_eq!(heartbeats(shop).await, 0, "nobody wrote, and a message was sent");

    // All by itself: the server says how far the log is.
    sqlx::raw_sql(BUSY_TABLE).execute(&mut busy).await.expect("a table");
    let written = shop.now().await;
    shop.until("the slot to pass by it", async || (shop.acknowledged().await >= written).then_some(())).await;

    // The slot stands although others write: then we say a word, for it to move past theirs.
    let kafka = shop.hold_kafka();
    let before = shop.now().await;
    sqlx::raw_sql("DROP TABLE busy").execute(&mut busy).await.expect("no table");
    sqlx::raw_sql(BUSY_TABLE).execute(&mut busy).await.expect("a table");
    let written = shop.now().await;
    assert!(written.0 - before.0 > 64 << 10, "{before} to {written}");
    shop.until("a message", async || (heartbeats(shop).await > 0).then_some(())).await;
    assert!(shop.acknowledged().await < written, "the slot did not stand");
    drop(kafka);
    shop.until("the slot to pass by the message", async || (shop.acknowledged().await >= written).then_some(())).await;
    assert!(shop.log_now().await.changes().next().is_none(), "a message is no change");
    ingest.stop().await;
}
