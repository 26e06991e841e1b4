//! Mistakes in the functions, loaded in the library's place beneath a system at work: the auditor reports each of them.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::found::audit;
use crate::harness::cut::{Cut, Mode};
use crate::harness::process::send;
use crate::harness::{Program, until};
use crate::mistakes::{LIBRARY, MET_BY_READERS, with_mistake};
use crate::role::Role;
use crate::shop::{BUSY, PRODUCTS, Shop, Writer, connect};

const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// Of one part of a round.
const PART_LIMIT: Duration = Duration::from_secs(60);
const CHANGES: RangeInclusive<u64> = 200..=900;
/// Entries that are evicted and asked for at once.
const EVICTED: usize = 20;
/// From the gateway to the database and back, each: so long is what it has read on its way into a tier.
const READERS_DELAY: Duration = Duration::from_millis(250);
/// The same of the engine, which fills what it has dropped while somebody waited for it.
const ENGINES_DELAY: Duration = Duration::from_millis(40);
/// Copies that the role looks at before the engine may go on.
const LOOKS: f64 = 100.0;

/// What a mistake shows in; rows rest wherever it is looked at, or the changes that follow would hide it.
#[derive(Clone, Copy)]
enum Play {
    /// Rows change while what was read of them is on its way into a tier.
    LateFills,
    /// The same, and the engine's own fills are late too.
    AllFillsLate,
    /// Entries are filled with changes that the engine, which stands still, has yet to apply.
    EarlyFills,
    /// A floor rises, and pages are made before what lies beneath it has been swept away.
    Truncate,
}

fn play_of(name: &str) -> Play {
    match name {
        "in between is refreshed" => Play::EarlyFills,
        "a fill takes anybody's lease" | "a drop leaves the entry" => Play::AllFillsLate,
        "the floor kills nothing" | "a call without a floor lowers it" => Play::Truncate,
        _ => Play::LateFills,
    }
}

/// Plants each of them in turn, and fails for those that nobody has reported within a minute.
pub fn are_reported(shop: &mut Shop) {
    let way = || {
        let way = Cut::open(shop.runtime.handle());
        let url = &shop.endpoints().database_url;
        let host = url.split('@').next_back().and_then(|rest| rest.split('/').next()).expect("a host");
        way.lead_to(host);
        let url = url.replacen(host, &format!("127.0.0.1:{}", way.port), 1);
        (way, shop.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &url))
    };
    let ((readers_way, gateway), (engines_way, engine)) = (way(), way());
    shop.run_only("ingest");
    let engine = engine.start(&["run", "--role", "engine"]);
    let _gateway = gateway.start(&["run", "--role", "gateway"]);
    shop.is_ready();
    let role = Role::start(shop);
    role.looks_at_every_tier();

    let mut unseen = Vec::new();
    for name in MET_BY_READERS {
        clear(shop);
        let clean = audit(&shop.lockstep);
        assert_eq!(clean.code, Some(0), "before `{name}`: {clean:?}");
        let before = role.complaints();
        load(shop, &with_mistake(name));
        let (began, mut seen) = (Instant::now(), None);
        while seen.is_none() && began.elapsed() < UNSEEN_MAX {
            match play_of(name) {
                Play::LateFills => late_fills(shop, &[(&readers_way, READERS_DELAY)]),
                Play::AllFillsLate => {
                    late_fills(shop, &[(&readers_way, READERS_DELAY), (&engines_way, ENGINES_DELAY)]);
                }
                Play::EarlyFills => early_fills(shop, &engine, &role),
                Play::Truncate => truncate(shop),
            }
            shop.settle();
            let by_command = audit(&shop.lockstep).code == Some(1);
            let by_role = role.complaints() > before;
            seen = by_command.then_some("the command").or(by_role.then_some("the role"));
        }
        eprintln!("{name}: seen by {} after {:.1?}", seen.unwrap_or("nobody"), began.elapsed());
        load(shop, LIBRARY);
        if seen.is_none() {
            unseen.push(name);
        }
    }
    assert!(unseen.is_empty(), "nobody reported {unseen:?}");
}

fn late_fills(shop: &Shop, slow: &[(&Cut, Duration)]) {
    // As many connections as it takes: by the slow way, opening one takes longer than a reader waits.
    answered(shop, ask(shop, &evict(shop, EVICTED)));
    slow.iter().for_each(|(way, delay)| way.set(Mode::Slow(*delay)));
    let writer = Writer::start(shop);
    let pages = ask(shop, &evict(shop, EVICTED));
    // Some changes are to reach the tier before what was read without them, and none that would mend it afterwards: how long
    // they take depends on the machine.
    let changes = fastrand::u64(CHANGES);
    until("some changes", PART_LIMIT, || (writer.changes() >= changes).then_some(()));
    writer.end();
    answered(shop, pages);
    slow.iter().for_each(|(way, _)| way.set(Mode::Pass));
}

fn early_fills(shop: &Shop, engine: &Program, role: &Role) {
    let role_looks = || {
        let looks = role.looks_at_l2();
        until("the role to look", PART_LIMIT, || (role.looks_at_l2() >= looks + LOOKS).then_some(()));
    };
    send(engine.pid(), libc::SIGSTOP);
    let writer = Writer::start(shop);
    until("some changes", PART_LIMIT, || (writer.changes() >= *CHANGES.end()).then_some(()));
    writer.end();
    answered(shop, ask(shop, &evict(shop, PRODUCTS)));
    role_looks();
    send(engine.pid(), libc::SIGCONT);
    shop.settle();
    role_looks();
}

fn truncate(shop: &Shop) {
    shop.sql(&format!(
        "INSERT INTO prices (product_id, price_pence) SELECT 'P' || n, n FROM generate_series(1, {PRODUCTS}) n \
         ON CONFLICT (product_id) DO UPDATE SET price_pence = excluded.price_pence"
    ));
    shop.settle();
    answered(shop, ask(shop, &evict(shop, PRODUCTS)));
    shop.sql("TRUNCATE prices");
    shop.settle();
    shop.fill_edge();
}

/// Removes entries from L2 as a node without memory would; those that change most among them. The products.
fn evict(shop: &Shop, count: usize) -> Vec<String> {
    let mut others: Vec<usize> = (BUSY + 1..=PRODUCTS).collect();
    fastrand::shuffle(&mut others);
    let products: Vec<String> = (1..=BUSY).chain(others).take(count).map(|n| format!("P{n}")).collect();
    let keys: Vec<String> = products.iter().map(|product| format!("product:all:{product}")).collect();
    let () = redis::cmd("UNLINK").arg(keys).query(&mut shop.l2()).expect("fewer entries");
    products
}

type Pages = Vec<JoinHandle<reqwest::Result<reqwest::Response>>>;

/// Asks the gateway for all of these at once.
fn ask(shop: &Shop, products: &[String]) -> Pages {
    let page = |product: &String| {
        let request = shop.http.get(format!("{}/v1/product/{product}", shop.endpoints().gateway));
        shop.runtime.spawn(async { request.send().await })
    };
    products.iter().map(page).collect()
}

fn answered(shop: &Shop, pages: Pages) {
    shop.runtime.block_on(async {
        for page in pages {
            page.await.expect("a task that ends").expect("an answer");
        }
    });
}

fn primaries(shop: &Shop) -> impl Iterator<Item = redis::Connection> {
    let all = shop.endpoints().l1.iter().chain([&shop.endpoints().l2]).map(|url| connect(url));
    all.filter_map(|mut node| {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut node).expect("a role");
        info.contains("role:master").then_some(node)
    })
}

/// Nothing of an earlier mistake is left, in any tier. Watermarks stay: nothing is to be lost.
fn clear(shop: &Shop) {
    for mut node in primaries(shop) {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut node).expect("keys");
        for key in keys.iter().filter(|key| !key.ends_with(":_w")) {
            let () = redis::cmd("UNLINK").arg(key).query(&mut node).expect("no entry");
        }
    }
    (1..=PRODUCTS).for_each(|n| shop.purge(&format!("P{n}")));
    shop.settle();
}

fn load(shop: &Shop, text: &str) {
    for mut node in primaries(shop) {
        let _: String =
            redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).query(&mut node).expect("a library");
    }
}
