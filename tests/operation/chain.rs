//! A chain that runs: what it says of itself, what is refused beside it, its drain, and what lacks when parts of it do.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_stack::{Service, StackOptions};
use serde_json::Value;

use crate::case::{CALLED_WRONGLY, CONFIGURED_WRONGLY, Case, NOT_YET, SERVICE_AWAY, check};
use crate::demands;
use crate::groups::{self, Lag};
use crate::harness::{Program, until};
use crate::shop::{DRAIN_LIMIT, Page, Shop};
use crate::standby::{free_address, of_two_one_stands_by};

const PARTITIONS: usize = 4;
const TIERS: [&str; 3] = ["l2", "l1", "l3"];
/// From the start of all roles to a gateway that is ready, on a slow machine.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Offsets for lag tools come once a second.
const LAG_LIMIT: Duration = Duration::from_secs(30);
const PURGE_LIMIT: Duration = Duration::from_secs(10);

/// The states of what is well.
const UP_TO_DATE: [&str; 2] = ["current", "idle"];

const PAGE: &str = "/v1/product/P1";
const PRODUCT: &str = "INSERT INTO products (product_id, name) VALUES ('P1', 'a lantern');
    INSERT INTO prices (product_id, price_pence) VALUES ('P1', 100);
    INSERT INTO inventory (product_id, stock) VALUES ('P1', 5)";

/// A policy with a table whose identity, its primary key, does not name the product.
const SHELVES: &str = r#"
[groups.catalogue]
entity_key = "product_id"
tables = ["public.products", "public.shelves"]
"#;

#[test]
fn a_chain_runs_and_ends_in_order() {
    let mut shop = Shop::start(StackOptions::default());
    shop.lockstep = shop.lockstep.clone().set("LOCKSTEP_PARTITIONS", &PARTITIONS.to_string());
    nothing_runs_yet(&shop);

    let metrics = free_address();
    let all_roles = shop.lockstep.clone().set("LOCKSTEP_METRICS_LISTEN", &metrics).start(&["run"]);
    ready(&shop);
    every_tier_follows(&shop);
    an_entry_is_told(&shop);
    a_change_is_explained(&shop);
    status_tells_all(&shop);
    lag_tools_see_the_groups(&shop);
    of_two_one_stands_by(&shop, &metrics);
    refused_beside_it(&shop);
    shop.commit("UPDATE prices SET price_pence = 130 WHERE product_id = 'P1'");
    drain(all_roles);

    without_an_engine(&shop);
    services_go_away(&mut shop);
}

fn nothing_runs_yet(shop: &Shop) {
    check(
        &shop.lockstep,
        &[
            Case::new("no tables", "run --role ingest")
                .fails(CONFIGURED_WRONGLY, &["there is no table public.products", "`lockstep migrate`"]),
            Case::new("no topics", "status")
                .fails(SERVICE_AWAY, &["can't read the log", "ingest has created the topics"]),
            Case::new("no L2", "status")
                .unset("LOCKSTEP_L2_URL")
                .fails(CONFIGURED_WRONGLY, &["LOCKSTEP_L2_URL", "[tiers] l2 in lockstep.toml"]),
        ],
    );
    shop.lockstep.ask(&["migrate"]);
    demands::are_refused(shop);
    shop.sql("CREATE TABLE public.shelves (shelf_id bigint PRIMARY KEY, product_id text NOT NULL)");
    check(
        &shop.lockstep,
        &[Case::new("a delete would not name its product", "run --role ingest").file("policy.toml", SHELVES).fails(
            CONFIGURED_WRONGLY,
            &["table public.shelves", "\"product_id\"", "ALTER TABLE \"public\".\"shelves\" REPLICA IDENTITY"],
        )],
    );
}

fn ready(shop: &Shop) {
    let is_ready = || Page::get(&shop.endpoints().gateway, "/readyz").filter(Page::is_ok);
    until("the gateway to be ready", READY_LIMIT, is_ready);
}

/// Waits by the command itself, which has nothing to say when all went well.
fn applied(shop: &Shop, lsn: &str, tier: &str) {
    assert_eq!(shop.lockstep.ask(&["wait", "--for", lsn, "--tier", tier, "--timeout", "30s"]), "");
}

/// After `lockstep wait` has said so, a tier has the change.
fn every_tier_follows(shop: &Shop) {
    let (gateway, edge) = (&shop.endpoints().gateway, &shop.endpoints().edge);
    let created = shop.commit(PRODUCT);
    TIERS.iter().for_each(|tier| applied(shop, &created, tier));
    let filled = Page::get(gateway, PAGE).expect("an answer");
    assert_eq!(filled.number("price_pence"), Some(100));
    // The first warming may have been there before this reader.
    assert!(matches!(filled.header("lockstep-tier"), Some("database" | "l2")));
    let kept = || Page::get(edge, PAGE).filter(|page| page.header("x-cache") == Some("HIT"));
    assert_eq!(until("the edge to keep the page", PURGE_LIMIT, kept).number("price_pence"), Some(100));

    let changed = shop.commit("UPDATE prices SET price_pence = 120 WHERE product_id = 'P1'");
    applied(shop, &changed, "l2");
    let refreshed = Page::get(gateway, PAGE).expect("an answer");
    assert_eq!((refreshed.number("price_pence"), refreshed.header("lockstep-tier")), (Some(120), Some("l2")));
    applied(shop, &changed, "l3");
    assert_eq!(Page::get(edge, PAGE).expect("an answer").number("price_pence"), Some(120));
    check(
        &shop.lockstep,
        &[Case::new("an LSN to come", "wait --for FFFF/0 --tier l1 --timeout 200ms")
            .fails(NOT_YET, &["l1 has not come to FFFF/0 within 200ms", "`lockstep status`"])],
    );
}

fn an_entry_is_told(shop: &Shop) {
    let told = shop.lockstep.ask(&["why", "product:all:P1"]);
    for line in [
        "catalogue P1, partition ",
        "l2 product:all:P1: equal",
        "  price_pence: 120",
        "last touched by u public.prices at ",
    ] {
        assert!(told.lines().any(|known| known.starts_with(line)), "{line}: {told}");
    }
    let told: Value = serde_json::from_str(&shop.lockstep.ask(&["why", "-o", "json", "product:hot:P1"])).expect("JSON");
    assert_eq!((&told["last"]["table"], &told["tiers"][0]["tier"]), (&"public.prices".into(), &"l2".into()), "{told}");
    let page = told["tiers"].as_array().and_then(|tiers| tiers.iter().find(|of| of["tier"] == "l3")).expect("the page");
    assert_eq!((&page["key"], &page["state"]), (&PAGE.into(), &"equal".into()), "{told}");
    assert_eq!((&page["kept"], &page["fields"]["price_pence"]["entry"]), (&true.into(), &"120".into()), "{told}");
    a_stale_copy_is_told(shop);
    check(
        &shop.lockstep,
        &[Case::new("no such key", "why produkt:P1").fails(CALLED_WRONGLY, &["a key of no view", "product:all:..."])],
    );
}

/// Somebody else writes into an entry; `why` says so, and takes nothing for mended that is not.
fn a_stale_copy_is_told(shop: &Shop) {
    let plant = |price: &str| shop.redis(&shop.endpoints().l2, &format!("HSET product:all:P1 price_pence {price}"));
    plant("1");
    let told = shop.lockstep.run(&["why", "product:all:P1"]);
    assert_eq!(told.code, Some(1), "{told}");
    for line in ["l2 product:all:P1: differs", "  price_pence: 1, the database has 120"] {
        assert!(told.stdout.lines().any(|known| known == line), "{line}: {told}");
    }
    plant("120");
    let told = shop.lockstep.ask(&["why", "product:all:P1"]);
    assert!(told.lines().any(|known| known == "l2 product:all:P1: equal"), "{told}");
}

/// Tried and rolled back: the row is as it was.
fn a_change_is_explained(shop: &Shop) {
    let change = ["explain", "--table", "public.prices", "--key", "P1", "--set", "price_pence=1"];
    let told = shop.lockstep.ask(&change);
    for line in [
        "update public.prices P1",
        "  l2 refresh product:all:P1 (price_pence, currency): product_all, an update, and the log has what the view needs",
        "  l3 purge product:P1: product_page, an update, and the log has what the view needs",
    ] {
        assert!(told.lines().any(|known| known == line), "{told}");
    }
    let sql = "DELETE FROM inventory WHERE product_id = 'P1'; INSERT INTO orders (order_id) VALUES (7)";
    let told: Value = serde_json::from_str(&shop.lockstep.ask(&["explain", "-o", "json", "--sql", sql])).expect("JSON");
    assert_eq!((&told[0]["op"], &told[0]["views"][0]["action"]), (&"delete".into(), &"invalidate".into()), "{told}");
    assert_eq!((&told[1]["table"], &told[1]["views"]), (&"public.orders".into(), &serde_json::json!([])), "{told}");
    assert_eq!(shop.sql("SELECT price_pence, stock FROM prices JOIN inventory USING (product_id)"), "120|5");
    check(
        &shop.lockstep,
        &[
            Case::new("it would end the transaction", "explain --sql COMMIT")
                .fails(CALLED_WRONGLY, &["only INSERT, UPDATE, DELETE and MERGE", "`COMMIT`"]),
            Case::new("no such table", "explain --table public.price --key 1")
                .fails(CALLED_WRONGLY, &["did you mean `public.prices`?"]),
            Case::new("no such column", "explain --table public.prices --key P1 --set pricepence=1")
                .fails(CALLED_WRONGLY, &["the database refuses this"]),
        ],
    );
}

fn status_tells_all(shop: &Shop) {
    let up_to_date = || {
        let status = status(shop);
        let lanes = status["tiers"].as_object()?.values().filter_map(Value::as_array).flatten();
        let late = |one: &Value| !UP_TO_DATE.iter().any(|state| one["state"] == *state);
        let any_late = lanes.chain([&status["ingest"]]).any(late);
        (!any_late).then_some(status)
    };
    let status = until("ingest and every lane to be up to date", READY_LIMIT, up_to_date);
    for tier in TIERS {
        let partitions = status["tiers"][tier].as_array().expect("partitions");
        let groups = if tier == "l1" { 2 } else { 1 };
        assert_eq!(partitions.len(), PARTITIONS * groups, "{tier}: {status}");
        for one in partitions {
            let position = one["position"].as_str().unwrap_or_default();
            assert_eq!(position.split('-').map(str::len).collect::<Vec<_>>(), [4, 16, 8], "{one}");
            assert!(one["group"].is_string() && one["partition"].is_u64(), "{one}");
            assert!(one["records_behind"].is_u64() && one["seconds_behind"].is_number(), "{one}");
        }
    }
    assert_eq!(status["unapplied"], 0, "all tiers were waited for: {status}");
    assert!(status["refreshed"].as_u64() >= Some(1) && status["dropped"].is_u64(), "{status}");

    let text = shop.lockstep.ask(&["status"]);
    let rows = text.lines().filter(|line| ["l1 ", "l2 ", "l3 "].iter().any(|tier| line.starts_with(tier))).count();
    assert_eq!(rows, PARTITIONS * 4, "{text}");
    let words = ["tier", "group", "partition", "state", "position", "records behind", "seconds behind"];
    assert!(text.lines().any(|line| words.iter().all(|word| line.contains(word))), "{text}");
    assert!(text.starts_with("ingest: "), "{text}");
    let last = text.lines().next_back().unwrap_or_default();
    assert!(last.starts_with("0 records unapplied; ") && last.contains("refreshed in place"), "{text}");
}

fn lag_tools_see_the_groups(shop: &Shop) {
    let caught_up = || {
        let rows = groups::describe(&shop.lockstep, &shop.endpoints().kafka);
        let groups: BTreeSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
        let all = groups == BTreeSet::from(["lockstep-l1", "lockstep-l2", "lockstep-l3"]);
        (all && rows.iter().all(|row| row.lag == 0)).then_some(rows)
    };
    let rows = until("the three groups without lag", LAG_LIMIT, caught_up);
    for (group, topic) in [
        ("lockstep-l2", "lockstep.catalogue"),
        ("lockstep-l1", "lockstep.catalogue"),
        ("lockstep-l1", "lockstep.customers"),
        ("lockstep-l3", "lockstep.catalogue"),
    ] {
        let of = |row: &&Lag| row.group == group && row.topic == topic;
        let partitions: Vec<u32> = rows.iter().filter(of).map(|row| row.partition).collect();
        assert_eq!(partitions.len(), PARTITIONS, "{group} on {topic}: {rows:?}");
    }
    assert!(rows.iter().any(|row| row.end > 0 && row.current == row.end), "{rows:?}");
}

fn refused_beside_it(shop: &Shop) {
    check(
        &shop.lockstep,
        &[
            Case::new("the gateway's port is taken", "run --role gateway")
                .fails(CONFIGURED_WRONGLY, &["can't listen on 127.0.0.1:", "free the port", "LOCKSTEP_GATEWAY_LISTEN"]),
            Case::new("another partition count, to ingest", "run --role ingest --partitions 8")
                .fails(CONFIGURED_WRONGLY, &["4 partitions, not 8", "configure"]),
            Case::new("another partition count, to the engine", "run --role engine --partitions 2")
                .fails(CONFIGURED_WRONGLY, &["4 partitions", "not 2", "configure"]),
            Case::new("Kafka is away, to ingest", "run --role ingest")
                .set("LOCKSTEP_KAFKA_BROKERS", "127.0.0.1:1")
                .fails(SERVICE_AWAY, &["can't reach Kafka at 127.0.0.1:1", "LOCKSTEP_KAFKA_BROKERS"]),
            Case::new("another partition count, to the gateway", "run --role gateway --partitions 8")
                .fails(CONFIGURED_WRONGLY, &["4 partitions, not 8", "configure"]),
            Case::new("another partition count, to a command", "warm product_all --partitions 8")
                .fails(CONFIGURED_WRONGLY, &["4 partitions, not 8", "configure"]),
        ],
    );
}

fn drain(running: Program) {
    running.terminate();
    let ended = running.wait(DRAIN_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    let last = ended.stderr.lines().next_back().unwrap_or_default();
    assert!(!last.starts_with("lockstep: "), "an end that was asked for is no failure: {last}");
}

/// What ingest publishes stays unapplied, is seen to, and is applied once there is an engine.
fn without_an_engine(shop: &Shop) {
    let ingest = shop.lockstep.start(&["run", "--role", "ingest"]);
    let changed = shop.commit("UPDATE prices SET price_pence = 140 WHERE product_id = 'P1'");
    let published = || status(shop)["unapplied"].as_u64().filter(|unapplied| *unapplied > 0);
    until("a record that nobody applies", READY_LIMIT, published);
    let waits = TIERS.map(|tier| format!("wait --for {changed} --tier {tier} --timeout 1s"));
    let waits = waits.each_ref().map(|wait| {
        Case::new("no engine", wait).fails(NOT_YET, &["has not come to", "`lockstep status` shows which partitions"])
    });
    check(&shop.lockstep, &waits);
    let rows = groups::describe(&shop.lockstep, &shop.endpoints().kafka);
    for group in ["lockstep-l2", "lockstep-l1", "lockstep-l3"] {
        assert!(
            rows.iter().any(|row| row.group == group && row.lag > 0 && row.lag == row.end - row.current),
            "{rows:?}"
        );
    }

    let engine = shop.lockstep.start(&["run", "--role", "engine"]);
    TIERS.iter().for_each(|tier| applied(shop, &changed, tier));
    drain(engine);
    drain(ingest);
}

fn services_go_away(shop: &mut Shop) {
    shop.kill(Service::Kafka);
    shop.kill(Service::Postgres);
    check(
        &shop.lockstep,
        &[
            Case::new("Kafka is away", "status")
                .fails(SERVICE_AWAY, &["can't reach Kafka", "check that a broker runs there"]),
            Case::new("the database is away, to ingest", "run --role ingest")
                .fails(SERVICE_AWAY, &["can't reach the database", "check that PostgreSQL runs there"]),
            Case::new("the database is away, to a command", "wait --for 0/0 --tier l2")
                .fails(SERVICE_AWAY, &["can't reach the database", "check that PostgreSQL runs there"]),
        ],
    );
    shop.kill(Service::L2);
    check(
        &shop.lockstep,
        &[Case::new("L2 is away", "status")
            .fails(SERVICE_AWAY, &["can't reach l2", "check that Redis runs there", "LOCKSTEP_L2_URL"])],
    );
}

pub fn status(shop: &Shop) -> Value {
    serde_json::from_str(&shop.lockstep.ask(&["status", "-o", "json"])).expect("JSON")
}
