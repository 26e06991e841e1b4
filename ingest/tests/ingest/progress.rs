//! How far the log is, as Kafka is told and as PostgreSQL is told.

use std::collections::BTreeMap;

use lockstep_schemas::position::Position;

use crate::log::{Log, Seen};
use crate::shop::{Shop, WAIT_MAX, next_progress};

pub async fn progress_says_what_kafka_holds(shop: &Shop) {
    let ingest = shop.start().await;
    shop.execute(
        "INSERT INTO products (product_id, name) SELECT 'P-' || n, 'bowl' FROM generate_series(1, 300) AS n; \
         INSERT INTO users (email, name) SELECT n || '@example.org', 'u' FROM generate_series(1, 300) AS n",
    )
    .await;
    let settled = shop.progress_past(shop.now().await).await;
    let ends: BTreeMap<String, Vec<i64>> = shop.groups().map(|group| (group.to_owned(), shop.ends(group))).collect();
    assert_eq!(settled.next, ends);
    let held: i64 = ends.values().flatten().sum();
    assert!(held >= 600, "{held} records");

    // Nobody writes a published row: the position and the server's time go on all the same.
    let written = "CREATE TABLE unpublished (n int); INSERT INTO unpublished SELECT generate_series(1, 1000)";
    shop.execute(written).await;
    let idle = shop.progress_past(shop.now().await).await;
    assert_eq!(idle.next, settled.next);
    let mut tail = shop.progress().await;
    let mut newest = idle;
    for _ in 0..3 {
        let next = tokio::time::timeout(WAIT_MAX, next_progress(&mut tail)).await.expect("progress while idle");
        assert!(next.at >= newest.at && next.position >= newest.position);
        newest = next;
    }
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint";
    let age = shop.scalar::<i64>(now).await - newest.at;
    assert!((0..3_000_000).contains(&age), "progress is {age} us old");
    ingest.stop().await;
}

/// What progress calls complete lies before the offsets that it names. (Of what was published twice, the first counts.)
pub async fn check_all_progress(shop: &Shop, log: &Log) {
    let mut first: BTreeMap<Position, &Seen> = BTreeMap::new();
    for seen in log.changes() {
        let known = first.entry(seen.change().position).or_insert(seen);
        if seen.offset < known.offset {
            *known = seen;
        }
    }
    let all = shop.all_progress().await;
    assert!(!all.is_empty());
    for progress in &all {
        for (position, seen) in first.range(..progress.position) {
            let next = progress.next[&seen.group][seen.partition as usize];
            assert!(seen.offset < next, "{position} at {} is said to be before {next}: {progress:?}", seen.offset);
        }
    }
}

pub async fn only_what_kafka_holds_is_acknowledged(shop: &Shop) {
    let ingest = shop.start().await;
    shop.execute("INSERT INTO products (product_id, name) VALUES ('A-1', 'bowl')").await;
    let settled = shop.now().await;
    shop.until("an acknowledgement", async || (shop.acknowledged().await >= settled).then_some(())).await;

    let held = shop.hold_kafka();
    let streaming = shop.streaming_pid().await;
    let before = shop.now().await;
    for n in 0..200 {
        shop.execute(&format!("UPDATE products SET name = 'bowl {n}' WHERE product_id = 'A-1'")).await;
    }
    let after = shop.now().await;
    // The server has sent all of it, and heard from us three times since.
    let sent = format!("SELECT max((sent_lsn >= '{after}')::int) FROM pg_stat_replication");
    shop.until("the log to be sent", async || shop.scalar::<Option<i32>>(&sent).await.filter(|sent| *sent == 1)).await;
    for _ in 0..3 {
        let reply = "SELECT max(reply_time)::text FROM pg_stat_replication";
        let heard: Option<String> = shop.scalar(reply).await;
        shop.until("a sign of life", async || (shop.scalar::<Option<String>>(reply).await != heard).then_some(()))
            .await;
        let acknowledged = shop.acknowledged().await;
        assert!(acknowledged <= before, "{acknowledged} is acknowledged, Kafka holds nothing after {before}");
    }
    assert_eq!(shop.streaming_pid().await, streaming, "a slow broker costs no connection");
    drop(held);

    shop.until("an acknowledgement", async || (shop.acknowledged().await >= after).then_some(())).await;
    let log = shop.log_now().await;
    let names: Vec<&str> = log.changes().filter_map(|seen| seen.change().after.as_ref()?.text("name")).collect();
    let expected: Vec<String> = (0..200).map(|n| format!("bowl {n}")).collect();
    assert_eq!(names[names.len() - 200..], expected);
    check_all_progress(shop, &log).await;

    // Idle: what others write passes by, and PostgreSQL need not keep it for us.
    shop.execute("CREATE TABLE unpublished (n int); INSERT INTO unpublished SELECT generate_series(1, 1000)").await;
    let idle = shop.now().await;
    shop.until("an idle slot to move", async || (shop.acknowledged().await >= idle).then_some(())).await;
    ingest.stop().await;
}
