//! PostgreSQL 18, whose standby keeps our slot: what arrives, what is told before, and what a fail-over leaves.

mod harness;
#[path = "failover/log.rs"]
mod log;
#[path = "failover/shop.rs"]
mod shop;

use std::time::Duration;

use crate::harness::until;
use crate::shop::{Program, Shop};

const WAIT_MAX: Duration = Duration::from_secs(60);
const SYNCED: &str =
    "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'lockstep' AND synced AND NOT temporary";

#[test]
fn a_fail_over_forgets_nothing_that_was_published() {
    let mut shop = Shop::start();
    what_the_database_computes_is_published(&shop);
    let ingest = streaming(&shop, "epoch=1");
    rows_arrive(&shop);
    a_slot_that_may_run_ahead_is_told(&shop);

    shop.sql(
        "INSERT INTO products (product_id, name) SELECT 'P' || n, 'before ' || n FROM generate_series(1, 200) AS n",
    );
    shop.sql("SELECT pg_logical_emit_message(true, 'test', 'the standby has it')");
    until("the slot on the standby", WAIT_MAX, || (shop.standby_sql(SYNCED) == "1").then_some(()));
    let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", shop.sql("SELECT pg_current_wal_insert_lsn()"));
    until("the standby to follow", WAIT_MAX, || (shop.standby_sql(&replayed) == "t").then_some(()));
    shop.fail_over();
    end(ingest);

    let ingest = streaming(&shop, "epoch=2");
    shop.sql("INSERT INTO products (product_id, name) VALUES ('AFTER', 'after')");
    let log = shop.log_until("AFTER");
    let missing: Vec<_> = (1..=200).map(|n| format!("P{n}")).filter(|id| !log.has(id, "c")).collect();
    assert!(missing.is_empty(), "committed and replicated, and not in the topic: {missing:?}");
    assert_eq!(shop.sql("SELECT reason FROM lockstep.epoch WHERE epoch = 2"), "another timeline");
    ingest.terminate();
    let ended = ingest.wait(WAIT_MAX);
    assert!(ended.code == Some(0) && ended.stderr.contains("another timeline"), "{ended}");
}

/// A publication without it would be one with which the server refuses updates and deletes.
fn what_the_database_computes_is_published(shop: &Shop) {
    shop.sql(
        "CREATE TABLE sums (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
         ALTER TABLE sums REPLICA IDENTITY FULL",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "[groups.sums]\nentity_key = \"id\"\ntables = [\"public.sums\"]\n";
    std::fs::write(folder.path().join("policy.toml"), policy).expect("a policy");
    let printed = shop.lockstep().within(folder.path()).ask(&["setup", "--print-sql"]);
    let publication = printed.split_once("CREATE PUBLICATION \"lockstep\"").expect("a publication").1;
    assert!(publication.contains("publish_generated_columns = stored"), "{printed}");
    shop.sql(&format!("CREATE PUBLICATION sums{publication} INSERT INTO sums VALUES (1, 1); UPDATE sums SET n = 2"));
    shop.sql("DROP PUBLICATION sums; DROP TABLE sums");
}

/// Starts ingest and waits until it streams in this epoch.
fn streaming(shop: &Shop, epoch: &str) -> Program {
    let ingest = shop.lockstep().start(&["run", "--role", "ingest"]);
    let streams = |line: &str| (line.contains("streaming") && line.contains(epoch)).then_some(());
    ingest.line("streaming", WAIT_MAX, streams);
    ingest
}

/// After a fail-over it waits for the old primary, until it is pointed elsewhere.
fn end(ingest: Program) {
    ingest.terminate();
    ingest.wait(WAIT_MAX);
}

fn rows_arrive(shop: &Shop) {
    shop.sql("INSERT INTO products (product_id, name) VALUES ('A', 'a lantern')");
    shop.sql("UPDATE products SET name = 'a lamp' WHERE product_id = 'A'");
    shop.sql("DELETE FROM products WHERE product_id = 'A'");
    shop.sql("TRUNCATE products CASCADE");
    shop.sql("INSERT INTO products (product_id, name) VALUES ('B', 'a bell')");
    let log = shop.log_until("B");
    for operation in ["c", "u", "d"] {
        assert!(log.has("A", operation), "{operation} of A is missing: {log:?}");
    }
    assert!(log.controls.iter().any(|kind| kind == "truncate"), "no truncate: {log:?}");
}

fn a_slot_that_may_run_ahead_is_told(shop: &Shop) {
    assert_eq!(shop.sql("SELECT failover FROM pg_replication_slots WHERE slot_name = 'lockstep'"), "t");
    let line = || {
        let checked = shop.lockstep().run(&["check"]);
        let line = checked.stdout.lines().find(|line| line.contains("fail-over of slot lockstep")).map(str::to_owned);
        (checked.code, line.unwrap_or_else(|| panic!("no line of it: {checked}")))
    };
    let (code, said) = line();
    assert!(code == Some(78) && said.starts_with("FAIL") && said.contains("ALTER SYSTEM SET"), "{said}");
    shop.sql("ALTER SYSTEM SET synchronized_standby_slots = 'standby'");
    shop.sql("SELECT pg_reload_conf()");
    let waits = until("the setting", WAIT_MAX, || Some(line()).filter(|(code, _)| *code == Some(0)));
    assert!(waits.1.ends_with("waits for standby"), "{}", waits.1);
}
