//! A shop that is not the demo's: set up by what `setup` prints, approved by `check`, read with least privilege, and
//! never held up by its reader.

use std::fs;
use std::time::Duration;

use lockstep_stack::{Service, Services, StackOptions};

use crate::harness::lockstep::program;
use crate::harness::{Lockstep, Program, until};
use crate::shop::Shop;
use crate::{anew, publications, server, sleeper, slots, snapshots, topics};

pub const READY_LIMIT: Duration = Duration::from_secs(30);
const CUT: i32 = 74;
/// From SIGTERM to the end where Kafka is away: what it has not acknowledged is waited for a little.
const AWAY_LIMIT: Duration = Duration::from_secs(20);

/// No name is the one that it would be without a configuration, and some have to be quoted.
pub const CONFIGURATION: &str = "[database]\nslot = \"goods_slot\"\npublication = \"Goods to go\"\n";
/// Nobody may do more than is granted to him.
const DATABASE: &str = "CREATE SCHEMA \"Goods\"; ALTER DATABASE shop SET search_path = \"Goods\";
    REVOKE CONNECT ON DATABASE shop FROM PUBLIC";
const TABLES: &str = "CREATE TABLE items (item text PRIMARY KEY, title text NOT NULL, note text,
        api_token text DEFAULT 's3cr3t-planted') PARTITION BY HASH (item);
    CREATE TABLE items_even PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE items_odd PARTITION OF items FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE boxes (item text PRIMARY KEY, \"cardNumber\" text DEFAULT 's3cr3t-planted');
    CREATE TABLE shelves (shelf bigint PRIMARY KEY, item text NOT NULL)";

const POLICY: &str = r#"
[groups.items]
entity_key = "item"
tables = ["Goods.items", "Goods.shelves", "Goods.boxes"]

[views.item]
group = "items"
tiers = ["l2"]
key = "item:{item}"
ttl = "1h"
[[views.item.sources]]
table = "Goods.items"
columns = ["item", "title"]
"#;

#[test]
fn a_shop_of_its_own_is_set_up_checked_and_followed() {
    let services = Services { postgres: true, kafka: true, ..Services::NONE };
    let mut shop = Shop::start(StackOptions { services, ..StackOptions::default() });
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("policy.toml"), POLICY).expect("a written policy");
    shop.lockstep = shop.lockstep.clone().within(folder.path()).set("LOCKSTEP_PARTITIONS", "4");
    fs::write(folder.path().join("lockstep.toml"), CONFIGURATION).expect("a written configuration");
    shop.sql(DATABASE);
    shop.sql(TABLES);

    refused_by_check(&shop.lockstep, "FAIL  replica identity of Goods.shelves: ", "ALTER TABLE \"Goods\".\"shelves\"");
    shop.sql("ALTER TABLE shelves REPLICA IDENTITY FULL");
    publications::ingest_publishes_no_secret(&shop, POLICY);
    refused_by_check(&shop.lockstep, "FAIL  publication Goods to go: ", "`lockstep setup --print-sql`");
    as_printed(&shop);

    slots::none_but_ours_is_read(&shop);
    server::faults_are_told(&shop);
    topics::faults_are_told(&shop);
    let ingest = start_ingest(&shop);
    topics::replicas_are_compared(&shop, POLICY);
    let checked = shop.lockstep.ask(&["check"]);
    let partitioned = "ok    partitioned tables of publication Goods to go: 1 published under their own names";
    assert!(checked.lines().any(|line| line == partitioned), "{checked}");
    assert!(checked.lines().next_back().is_some_and(|line| line.ends_with(" checks, 0 failed")), "{checked}");

    publications::faults_are_told(&shop, POLICY);
    let checked = shop.lockstep.ask(&["check"]);
    assert!(checked.contains(" checks, 0 failed"), "all is mended: {checked}");

    writes_go_on_and_are_followed(&shop);
    publications::no_secret_is_in_the_topic(&shop);
    snapshots::one_that_waits_says_for_whom(&shop);
    snapshots::hidden_rows_are_told(&shop);
    let ingest = sleeper::a_woken_one_gives_out_no_schema_id(&shop, ingest);
    let ingest = anew::a_publication_made_anew_needs_a_new_slot(&shop, ingest);
    ends_though_kafka_is_away(&mut shop, ingest);
}

/// Under the role that was made for it.
pub fn start_ingest(shop: &Shop) -> Program {
    let known = shop.endpoints().database_url.replace("//postgres@", "//lockstep_ingest@");
    let ingest = shop.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &known).start(&["run", "--role", "ingest"]);
    ingest.line("streaming", READY_LIMIT, |line| line.contains(" streaming").then_some(()));
    ingest
}

/// What is printed is run as it is, and is enough: ingest runs under its role from here on, and who reads rows may read those
/// that views are made of, and nothing else.
fn as_printed(shop: &Shop) {
    let printed = shop.lockstep.ask(&["setup", "--print-sql"]);
    let mut full = shop.lockstep.other(program());
    let disk = fs::File::options().write(true).open("/dev/full").expect("a device without room");
    let cut = full.args(["setup", "--print-sql"]).stdout(disk).status().expect("an end");
    assert_eq!(cut.code(), Some(CUT), "a script for the DBA that lacks its end");
    for line in [
        "GRANT CONNECT ON DATABASE \"shop\" TO lockstep_ingest, lockstep_reader;",
        "GRANT USAGE ON SCHEMA \"Goods\" TO lockstep_ingest, lockstep_reader;",
        "CREATE PUBLICATION \"Goods to go\" FOR TABLE",
    ] {
        assert!(printed.lines().any(|known| known == line), "{line}: {printed}");
    }
    assert_eq!(shop.sql_as("lockstep_reader", "SELECT 1"), None, "there is no such role yet");
    shop.sql(&printed);
    let reads = "SELECT count(item) + count(title) FROM \"Goods\".items; SELECT count(*) FROM lockstep.epoch";
    assert_eq!(shop.sql_as("lockstep_reader", reads).as_deref(), Some("0\n0"));
    assert_eq!(shop.sql_as("lockstep_reader", "SELECT note FROM \"Goods\".items"), None, "no view needs it");
    assert_eq!(shop.sql_as("lockstep_ingest", "SELECT title FROM \"Goods\".items"), None, "it needs no rows");
}

/// One of its lines says what fails, and that line says what to do.
pub fn refused_by_check(lockstep: &Lockstep, fails: &str, remedy: &str) {
    let ended = lockstep.run(&["check"]);
    assert_eq!(ended.code, Some(crate::case::CONFIGURED_WRONGLY), "{ended}");
    let line = ended.stdout.lines().find(|line| line.starts_with(fails));
    assert!(line.is_some_and(|line| line.contains(remedy)), "{fails}... {remedy}: {ended}");
}

/// No publication of ours may refuse the shop an update or a delete.
pub fn writes_go_on_and_are_followed(shop: &Shop) {
    for statement in [
        "INSERT INTO items VALUES ('a', 'lantern-planted', NULL); INSERT INTO boxes VALUES ('a'); INSERT INTO shelves VALUES (1, 'a'), (2, 'a')",
        "UPDATE items SET note = 'tin'; UPDATE shelves SET item = 'b' WHERE shelf = 1",
        "DELETE FROM shelves; DELETE FROM items",
    ] {
        let committed = shop.commit(statement);
        let sql = format!("SELECT confirmed_flush_lsn >= '{committed}' FROM pg_replication_slots");
        let look = || (shop.sql(&sql) == "t").then_some(());
        until(&format!("the log to be in Kafka after {statement}"), READY_LIMIT, look);
    }
}

/// Also where the log goes on meanwhile: with what is none of ours, so that there is a checkpoint to be saved, and with
/// what is.
fn ends_though_kafka_is_away(shop: &mut Shop, ingest: Program) {
    shop.kill(Service::Kafka);
    let foreign = shop.commit("CREATE TABLE foreign_to_us (id bigint)");
    let sql = format!("SELECT coalesce(bool_and(sent_lsn >= '{foreign}'), false) FROM pg_stat_replication");
    until("the log to be sent", READY_LIMIT, || (shop.sql(&sql) == "t").then_some(()));
    shop.sql("INSERT INTO items VALUES ('c', 'kettle', NULL)");
    ingest.terminate();
    let ended = ingest.wait(AWAY_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
}
