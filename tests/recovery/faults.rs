//! Faults under load: each is seen to have struck, each is repaired without anybody's help, and in the end no copy differs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_stack::Service;

use crate::harness::Program;
use crate::harness::process::send;
use crate::harness::until;
use crate::load::Load;
use crate::site::{LIMIT, PRODUCTS, Site, path};

/// Changes and reads of each fault, at least.
pub const FLOW: usize = 40_000;
const FLOW_BEFORE: usize = 8_000;
/// From a fault's end until all tiers are back: a group's session may have to run out first.
const REPAIR_LIMIT: &str = "55s";
const REPAIR_LOOK: Duration = Duration::from_secs(120);

/// What a fault may do to readers, by the promises.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Nothing goes backwards.
    Kept,
    /// The tier's own node forgot: what it shows may be older for a while.
    OfTheNodeLost,
}

/// A fault: how it strikes and is over, with the word by which it is known.
type Fault = (&'static str, Order, fn(&mut Site) -> String);

const FAULTS: [Fault; 7] = [
    ("engine killed", Order::Kept, engine_killed),
    ("engine stopped, and woken as a zombie", Order::Kept, zombie),
    ("l2 killed, and back from an old file", Order::OfTheNodeLost, l2_from_an_old_file),
    ("all caches flushed", Order::OfTheNodeLost, flushed),
    ("function library flushed", Order::Kept, functions_flushed),
    ("kafka killed", Order::Kept, kafka_killed),
    ("postgresql killed", Order::Kept, postgres_killed),
];

pub fn are_repaired(flow: usize) {
    let mut site = Site::open_apart();
    site.announce_hot();
    for (name, order, strike) in FAULTS {
        let load = Load::start(&site);
        load.flowed(FLOW_BEFORE.min(flow));
        let sign = strike(&mut site);
        let over = Instant::now();
        let lsn = until("the database to answer", LIMIT, || site.shop.try_sql("SELECT pg_current_wal_insert_lsn()"));
        for tier in ["l2", "l1"] {
            site.ask(&format!("wait --for {lsn} --tier {tier} --timeout {REPAIR_LIMIT}"));
        }
        let repaired = over.elapsed();
        load.flowed(flow.saturating_sub(FLOW_BEFORE));
        let (changes, reads, failed, backwards) = load.end();
        let differing = differing(&mut site);
        eprintln!(
            "{name}: {sign}; repaired in {:.1} s; {changes} changes, {reads} reads ({failed} without an answer), {} backwards, {} differ",
            repaired.as_secs_f64(),
            backwards.len(),
            differing.len()
        );
        assert!(differing.is_empty(), "{name}: {differing:?}");
        assert!(order == Order::OfTheNodeLost || backwards.is_empty(), "{name}: {backwards:?}");
    }
    site.close();
}

fn engine_killed(site: &mut Site) -> String {
    let engine = site.engine.take().expect("an engine");
    send(engine.pid(), libc::SIGKILL);
    drop(engine);
    let engine = site.start_engine();
    let line = owns(&engine);
    site.engine = Some(engine);
    line
}

/// The other engine takes all over; the one that slept must write nothing when it wakes.
fn zombie(site: &mut Site) -> String {
    let sleeper = site.engine.take().expect("an engine");
    send(sleeper.pid(), libc::SIGSTOP);
    let other = site.start_engine();
    owns(&other);
    let lsn = site.shop.sql("SELECT pg_current_wal_insert_lsn()");
    site.ask(&format!("wait --for {lsn} --tier l2 --timeout {REPAIR_LIMIT}"));
    let since = sleeper.text().len();
    send(sleeper.pid(), libc::SIGCONT);
    let sign = until("its end as an owner", REPAIR_LOOK, || {
        let said = sleeper.text();
        let words = ["partitions given back", "another engine moved the watermark"];
        words.into_iter().find(|word| said[since..].contains(word)).map(str::to_owned)
    });
    sleeper.terminate();
    drop(sleeper);
    site.engine = Some(other);
    sign
}

fn l2_from_an_old_file(site: &mut Site) -> String {
    let since = said(site).len();
    redis::cmd("SAVE").exec(&mut site.l2).expect("a file");
    let saved = watermarks(site);
    until("changes beyond the file", LIMIT, || (watermarks(site) != saved).then_some(()));
    site.shop.kill(Service::L2);
    site.shop.restart(Service::L2);
    site.reconnect();
    told(site, since, "the tier forgot what it had applied")
}

fn flushed(site: &mut Site) -> String {
    let since = said(site).len();
    let nodes = [&[site.shop.endpoints().l2.clone()], &site.shop.endpoints().l1[..3]].concat();
    for url in nodes {
        let mut node = redis::Client::open(url).and_then(|client| client.get_connection()).expect("a node");
        // Its replicas refuse; which nodes are primaries may have changed.
        let _ = redis::cmd("FLUSHALL").exec(&mut node);
    }
    told(site, since, "floor raised: the tier was unknown")
}

fn functions_flushed(site: &mut Site) -> String {
    let since = said(site).len();
    redis::cmd("FUNCTION").arg("FLUSH").exec(&mut site.l2).expect("a flush");
    told(site, since, "a node lacks the function library")
}

fn kafka_killed(site: &mut Site) -> String {
    site.shop.kill(Service::Kafka);
    let stalled = || site.shop.lockstep.run(&["status"]).stderr.contains("can't reach Kafka").then_some(());
    until("Kafka to be missed", LIMIT, stalled);
    site.shop.restart(Service::Kafka);
    "can't reach Kafka".to_owned()
}

fn postgres_killed(site: &mut Site) -> String {
    let since = said(site).len();
    site.shop.kill(Service::Postgres);
    let sign = told(site, since, "the gate holds all lanes");
    site.shop.restart(Service::Postgres);
    sign
}

/// Waits for a line that the engine has said since.
fn told(site: &Site, since: usize, word: &str) -> String {
    until(word, REPAIR_LOOK, || said(site)[since..].contains(word).then(|| word.to_owned()))
}

/// All that the engine has said.
fn said(site: &Site) -> String {
    site.engine.as_ref().expect("an engine").text()
}

fn owns(engine: &Program) -> String {
    let line = |line: &str| line.contains("partitions are ours").then(|| "partitions are ours".to_owned());
    engine.line("its partitions", REPAIR_LOOK, line)
}

fn watermarks(site: &mut Site) -> Vec<Option<String>> {
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:_w").query(&mut site.l2).expect("keys");
    let position = |key: &String| redis::cmd("HGET").arg(key).arg("pos").query(&mut site.l2).expect("a position");
    keys.iter().map(position).collect()
}

/// Every copy that is not as its row, once all tiers have applied everything.
fn differing(site: &mut Site) -> Vec<String> {
    let lsn = site.shop.sql("SELECT pg_current_wal_insert_lsn()");
    for tier in ["l2", "l1", "l3"] {
        site.ask(&format!("wait --for {lsn} --tier {tier} --timeout {REPAIR_LIMIT}"));
    }
    let rows = site.shop.sql("SELECT product_id, price_pence FROM prices");
    let rows: BTreeMap<&str, &str> = rows.lines().filter_map(|row| row.split_once('|')).collect();
    assert_eq!(rows.len(), PRODUCTS);
    let mut differing = Vec::new();
    let mut looked = 0;
    for (node, pattern) in site.nodes() {
        let mut connection =
            redis::Client::open(node.as_str()).and_then(|client| client.get_connection()).expect("a node");
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).expect("keys");
        for key in keys.iter().filter(|key| !key.ends_with(":_lease")) {
            let product = key.rsplit(':').next().unwrap_or_default();
            let read = redis::cmd("HGET").arg(key).arg("price_pence").query::<Option<String>>(&mut connection);
            // A node of the cluster answers for its own slots only, and its replicas for none.
            let Ok(Some(price)) = read else { continue };
            looked += 1;
            if rows.get(product) != Some(&price.as_str()) {
                differing.push(format!("{key}: {price}, not {:?}", rows.get(product)));
            }
        }
    }
    assert!(looked >= PRODUCTS / 2, "only {looked} copies to compare");
    for (product, price) in &rows {
        let page = crate::shop::Page::get(&site.shop.endpoints().edge, &path(product)).expect("a page");
        if page.number("price_pence").map(|price| price.to_string()).as_deref() != Some(*price) {
            differing.push(format!("the page of {product}: {:?}, not {price}", page.number("price_pence")));
        }
    }
    differing
}
