//! The auditor as an operator meets it: what is planted in any tier it finds, what is merely on its way it leaves alone.

#[path = "audit/cuts.rs"]
mod cuts;
#[path = "audit/faults.rs"]
mod faults;
#[path = "audit/found.rs"]
mod found;
mod harness;
#[path = "audit/metrics.rs"]
mod metrics;
#[path = "harness/mutants.rs"]
mod mistakes;
#[path = "audit/mutants.rs"]
mod mutants;
#[path = "audit/own.rs"]
mod own;
#[path = "audit/role.rs"]
mod role;
#[path = "audit/shop.rs"]
mod shop;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::faults::FAULTS;
use crate::found::{Found, audit};
use crate::role::Role;
use crate::shop::{Shop, Writer};

/// Rows that the audit beside traffic is to have held against their copies at least.
const COMPARED_MIN: u64 = 200;
/// The exit code where something did not answer.
const UNAVAILABLE: i32 = 69;
const TRAFFIC: Duration = Duration::from_secs(4);
const TRAFFIC_LONG: Duration = Duration::from_secs(600);
/// How much longer it may take until so many were compared.
const TRAFFIC_MAX: Duration = Duration::from_secs(120);
/// A thousand a second, and a tenth less for what a slow machine misses.
const CHANGES_MIN: u64 = 540_000;

#[test]
fn planted_faults_are_found_in_every_tier_and_nothing_else_is() {
    let mut shop = Shop::open();
    let clean = audit(&shop.lockstep);
    assert_eq!(clean.code, Some(0), "{clean:?}");
    for tier in ["l2", "l1", "l3"] {
        assert!(clean.compared(tier) > 0, "{tier}: {clean:?}");
    }
    for tier in ["l2", "l1"] {
        assert!(clean.compared_on_replicas(tier) > 0, "replicas of {tier}: {clean:?}");
    }

    what_could_not_be_judged_is_not_called_right(&shop);
    let role = Role::start(&shop);
    role.looks_at_every_tier();
    beside_traffic(&shop, TRAFFIC);
    shop.settle();
    role.has_found_nothing();
    own::a_cache_of_their_own_is_judged(&shop);

    let planted = faults::plant(&shop);
    assert_eq!(planted.len(), FAULTS);
    role.finds(&shop, &planted);
    let began = Instant::now();
    let found = audit(&shop.lockstep);
    eprintln!("{FAULTS} faults, found in {:.1?}", began.elapsed());
    assert_eq!(found.code, Some(1), "{found:?}");
    check(&found, &planted);
    let text = shop.lockstep.run(&["audit", "--full", "--once"]);
    assert!(!text.stdout.contains(shop::NAME) && !found.text.contains(shop::NAME), "a name is told: {text}");
    assert!(text.stdout.contains("last touched by u public."), "{text}");
    role.repairs_all(&shop, FAULTS);
    role.remembers_over_a_restart(&shop);
    role.pays_for_pages_that_are_not_kept(&shop);
    drop(role);
    a_command_repairs(&shop);
    metrics::tell_all(&mut shop);
}

/// What is no edge is not taken for one that keeps nothing; the tiers are told all the same. Under another namespace there
/// are no watermarks.
fn what_could_not_be_judged_is_not_called_right(shop: &Shop) {
    let gateway = &shop.endpoints().gateway;
    let found = audit(&shop.lockstep.clone().set("LOCKSTEP_EDGE_URL", gateway));
    assert!(found.code == Some(UNAVAILABLE) && found.text.contains("is that the edge?"), "{found:?}");
    assert!(found.compared("l2") > 0 && found.compared("l3") == 0, "{found:?}");
    let found = audit(&shop.lockstep.clone().set("LOCKSTEP_NAMESPACE", "other:"));
    assert!(found.code == Some(UNAVAILABLE) && found.text.contains("has no watermark in the tier"), "{found:?}");
}

/// One fault in each tier, and none afterwards.
fn a_command_repairs(shop: &Shop) {
    let planted = faults::plant_one_each(shop);
    let repaired = shop.lockstep.run(&["audit", "--full", "--once", "--repair", "-o", "json"]);
    assert_eq!(repaired.code, Some(1), "{repaired}");
    let told: serde_json::Value = serde_json::from_str(&repaired.stdout).expect("JSON");
    let wrong = told["violations"].as_array().expect("violations").iter();
    let wrong: BTreeSet<_> = wrong.map(|one| one["key"].as_str().expect("a key").to_owned()).collect();
    assert_eq!(wrong, planted.iter().map(|(_, key)| key.clone()).collect(), "{repaired}");
    assert_eq!((&told["repaired"]["entities"], &told["repaired"]["left"]), (&planted.len().into(), &0.into()));
    for tier in ["l2", "l1", "l3"] {
        assert!(told["repaired"]["tiers"][tier].is_string(), "{repaired}");
    }
    let after = audit(&shop.lockstep);
    assert_eq!(after.code, Some(0), "{after:?}");
}

/// Ten minutes at 1,000 changes a second, with reads: not one copy may be called wrong.
#[test]
#[ignore = "takes ten minutes"]
fn nothing_is_wrong_for_ten_minutes() {
    let shop = Shop::open();
    let role = Role::start(&shop);
    role.looks_at_every_tier();
    let changes = beside_traffic(&shop, TRAFFIC_LONG);
    assert!(changes >= CHANGES_MIN, "{changes} changes are no ten minutes at a thousand a second");
    shop.settle();
    role.has_found_nothing();
}

#[test]
#[ignore = "takes some minutes"]
fn idle_is_idle_and_a_cut_stream_is_stalled() {
    let mut shop = Shop::open();
    let role = Role::start(&shop);
    role.stays_ready_for(Duration::from_secs(40));
    for (left, cut) in [("ingest", "l2 in"), ("engine", "ingest")] {
        shop.run_only(left);
        role.complains_within(Duration::from_secs(30), cut, || {
            shop.sql("UPDATE prices SET price_pence = price_pence + 1")
        });
        shop.run_only("ingest,engine,gateway");
        role.is_content_again();
    }
    cuts::between_each_pair_of_parts(&mut shop, &role);
}

#[test]
#[ignore = "takes some minutes"]
fn mistakes_in_the_functions_are_reported() {
    mutants::are_reported(&mut Shop::open());
}

fn beside_traffic(shop: &Shop, lasts: Duration) -> u64 {
    let writer = Writer::start(shop);
    let (began, mut compared, mut in_flight) = (Instant::now(), 0, 0);
    while began.elapsed() < lasts || compared < COMPARED_MIN {
        assert!(began.elapsed() < lasts + TRAFFIC_MAX, "only {compared} copies were held against their rows");
        let found = audit(&shop.lockstep);
        assert_eq!(found.code, Some(0), "{found:?}");
        compared += found.sum("same");
        in_flight += found.sum("in_flight");
    }
    let changes = writer.end();
    eprintln!("{changes} changes in {:.1?}, {compared} copies the same, {in_flight} in flight", began.elapsed());
    assert!(changes > 0, "nothing was written beside it");
    changes
}

/// All that was planted, and no more.
fn check(found: &Found, planted: &BTreeSet<(&'static str, String)>) {
    let told: BTreeSet<(&str, String)> = found.violations().collect();
    let planted: BTreeSet<(&str, String)> = planted.iter().map(|(tier, key)| (*tier, key.clone())).collect();
    let unseen: Vec<_> = planted.difference(&told).collect();
    let invented: Vec<_> = told.difference(&planted).collect();
    assert!(unseen.is_empty() && invented.is_empty(), "unseen: {unseen:?}, invented: {invented:?}");
}
