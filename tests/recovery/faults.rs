//! Faults under load: each is seen to have struck, each is repaired without anybody's help, and in the end no copy differs.

#[path = "faults/log.rs"]
mod log;
#[path = "faults/network.rs"]
mod network;
#[path = "faults/processes.rs"]
mod processes;
#[path = "faults/promotion.rs"]
mod promotion;
#[path = "faults/stopping.rs"]
mod stopping;
#[path = "faults/tiers.rs"]
mod tiers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lockstep_stack::StackOptions;
pub use promotion::a_promotion_loses_commits;

use crate::front::Purge;
use crate::harness::Program;
use crate::harness::until;
use crate::load::Load;
use crate::shop::Page;
use crate::site::{LIMIT, PRODUCTS, Site, connect, path};
use crate::ways::Way;

/// Changes and reads of each fault, at least.
pub const FLOW: usize = 40_000;
/// The same where all of them together may take a minute.
pub const FLOW_IN_SHORT: usize = 1_500;
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

use Order::{Kept, OfTheNodeLost};

/// A fault: how it strikes and is over, with the word by which it is known.
type Fault = (&'static str, Order, fn(&mut Site, &Load) -> String);

const IN_SHORT: [Fault; 3] = [
    ("l1 failed over without the last writes", OfTheNodeLost, tiers::l1_fails_over_without_the_last_writes),
    ("the edge accepts purges without effect", Kept, |site, load| {
        network::bad_answers(Purge::Answered("200 OK"), site, load)
    }),
    ("records deleted before they were read", Kept, log::records_deleted),
];

const AT_LENGTH: [Fault; 24] = [
    ("engine killed", Kept, processes::engine_killed),
    ("engine stopped, and woken as a zombie", Kept, processes::zombie),
    ("two engines at once", Kept, processes::two_engines),
    ("l2 killed, and back from an old file", OfTheNodeLost, tiers::l2_from_an_old_file),
    ("all caches flushed", OfTheNodeLost, tiers::flushed),
    ("function library flushed", Kept, tiers::functions_flushed),
    ("the gateway's clock stepped", Kept, processes::clock_stepped),
    ("kafka killed", Kept, log::kafka_killed),
    ("postgresql killed", Kept, postgres_killed),
    ("slot dropped", Kept, log::slot_dropped),
    ("the way to the database is slow", Kept, |site, load| network::slow(Way::Database, site, load)),
    ("the way to kafka is slow", Kept, |site, load| network::slow(Way::Kafka, site, load)),
    ("the way to l2 is slow", Kept, |site, load| network::slow(Way::L2, site, load)),
    ("the way to l1 is slow", Kept, |site, load| network::slow(Way::L1, site, load)),
    ("the way to the edge is slow", Kept, |site, load| network::slow(Way::Edge, site, load)),
    ("the way to the database breaks", Kept, |site, load| network::broken(Way::Database, site, load)),
    ("the way to kafka breaks", Kept, |site, load| network::broken(Way::Kafka, site, load)),
    ("the way to l2 breaks", Kept, |site, load| network::broken(Way::L2, site, load)),
    ("the way to l1 breaks", Kept, |site, load| network::broken(Way::L1, site, load)),
    ("the way to the edge breaks", Kept, |site, load| network::broken(Way::Edge, site, load)),
    ("the edge wants fewer purges", Kept, |site, load| {
        network::bad_answers(Purge::Answered("429 Too Many Requests"), site, load)
    }),
    ("the edge refuses purges", Kept, |site, load| {
        network::bad_answers(Purge::Answered("500 Internal Server Error"), site, load)
    }),
    ("the edge does not answer purges", Kept, |site, load| network::bad_answers(Purge::Unanswered, site, load)),
    ("engine terminated in all states", Kept, stopping::in_all_states),
];

/// The three that are quick to show.
pub fn some_are_repaired() {
    are_repaired(&IN_SHORT, FLOW_IN_SHORT);
}

/// All of them, or those whose name contains a word.
pub fn all_are_repaired(flow: usize, named: &str) {
    let faults: Vec<Fault> = IN_SHORT.into_iter().chain(AT_LENGTH).filter(|(name, ..)| name.contains(named)).collect();
    are_repaired(&faults, flow);
}

fn are_repaired(faults: &[Fault], flow: usize) {
    let mut site = Site::open_apart(StackOptions::default());
    site.announce_hot();
    for (name, order, strike) in faults {
        let load = Load::start(&site);
        load.flowed(FLOW_BEFORE.min(flow));
        let sign = strike(&mut site, &load);
        let over = Instant::now();
        repaired(&site);
        let took = over.elapsed();
        load.flowed(flow.saturating_sub(FLOW_BEFORE));
        let (changes, reads, failed, backwards) = load.end();
        let differing = differing(&mut site);
        eprintln!(
            "{name}: {sign}; repaired in {:.1} s; {changes} changes, {reads} reads ({failed} without an answer), {} backwards, {} differ",
            took.as_secs_f64(),
            backwards.len(),
            differing.len()
        );
        assert!(differing.is_empty(), "{name}: {differing:?}");
        assert!(*order == OfTheNodeLost || backwards.is_empty(), "{name}: {backwards:?}");
    }
    site.close();
}

/// Waits until the tiers have all that the database has by now.
fn repaired(site: &Site) {
    let lsn = until("the database to answer", LIMIT, || site.shop.try_sql("SELECT pg_current_wal_insert_lsn()"));
    for tier in ["l2", "l1"] {
        site.ask(&format!("wait --for {lsn} --tier {tier} --timeout {REPAIR_LIMIT}"));
    }
}

fn postgres_killed(site: &mut Site, _: &Load) -> String {
    let since = site.roles.text().len();
    site.shop.kill(lockstep_stack::Service::Postgres);
    // The gate holds lanes, too, but says so only where one has something to apply.
    let sign = "ingest was interrupted";
    until(sign, REPAIR_LOOK, || site.roles.text()[since..].contains(sign).then_some(()));
    site.shop.restart(lockstep_stack::Service::Postgres);
    sign.to_owned()
}

/// Waits for one of the lines that the engine may have said since.
fn told_one_of(site: &Site, since: usize, words: &[&str]) -> String {
    let deadline = Instant::now() + REPAIR_LOOK;
    until(&words.join(" or "), REPAIR_LOOK * 2, || {
        let said = said(site);
        assert!(Instant::now() < deadline, "none of {words:?} was said, but: {}", &said[since..]);
        words.iter().find(|word| said[since..].contains(*word)).map(|word| (*word).to_owned())
    })
}

/// Waits for a line that the engine has said since.
fn told(site: &Site, since: usize, word: &str) -> String {
    told_one_of(site, since, &[word])
}

/// All that the engine has said.
fn said(site: &Site) -> String {
    site.engine.as_ref().expect("an engine").text()
}

fn owns(engine: &Program) -> String {
    let line = |line: &str| line.contains("partitions are ours").then(|| "partitions are ours".to_owned());
    engine.line("its partitions", REPAIR_LOOK, line)
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
    // What a floor has killed is there again, so that there is something to compare.
    for product in rows.keys() {
        Page::get(&site.shop.endpoints().gateway, &path(product)).expect("a page");
    }
    let mut differing = Vec::new();
    let mut looked = 0;
    for (node, pattern) in site.nodes() {
        let mut connection = connect(&node);
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
        let page = Page::get(&site.shop.endpoints().edge, &path(product)).expect("a page");
        if page.number("price_pence").map(|price| price.to_string()).as_deref() != Some(*price) {
            differing.push(format!("the page of {product}: {:?}, not {price}", page.number("price_pence")));
        }
    }
    differing
}
