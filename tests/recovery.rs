//! Recovery by hand, as an operator does it: what the log can't repair by itself, since nothing in it is wrong, is planted in
//! the caches behind the engine's back; then a command must bring it into order, in every tier.

#[path = "recovery/beside.rs"]
mod beside;
#[path = "recovery/faults.rs"]
mod faults;
#[path = "recovery/front.rs"]
mod front;
mod harness;
#[path = "recovery/load.rs"]
mod load;
#[path = "recovery/moves.rs"]
mod moves;
#[path = "recovery/parked.rs"]
mod parked;
#[path = "recovery/purges.rs"]
mod purges;
#[path = "recovery/readers.rs"]
mod readers;
#[path = "recovery/rebuilds.rs"]
mod rebuilds;
#[path = "recovery/replays.rs"]
mod replays;
#[path = "operation/shop.rs"]
mod shop;
#[path = "recovery/site.rs"]
mod site;
#[path = "recovery/switches.rs"]
mod switches;
#[path = "recovery/warming.rs"]
mod warming;
#[path = "recovery/ways.rs"]
mod ways;

use faults::{FLOW, FLOW_IN_SHORT};
use site::Site;

#[test]
fn an_operator_brings_into_order_what_no_change_would() {
    let mut site = Site::open();
    purges::an_entity_goes_from_every_tier(&mut site);
    parked::what_is_parked_is_retried_once(&mut site);
    replays::a_range_of_the_log_is_dropped_again(&mut site);
    switches::readers_pass_a_view_by(&site);
    switches::a_paused_lane_waits(&mut site);
    switches::a_tier_from_the_future(&mut site);
    warming::a_stopped_one_goes_on(&mut site);
    warming::a_new_installation_warms_itself_once(&mut site);
    rebuilds::a_view_is_made_anew_beside(&mut site);
    beside::another_partition_count(&mut site);
    site.close();
}

/// Entries of a slot that is moved in passing, and of one that is large.
const SLOT_ENTRIES: usize = 2_000;
const SLOT_ENTRIES_LARGE: usize = 200_000;

#[test]
#[ignore = "a minute: L2 as a cluster is another stack, and each of its copies is compared"]
fn a_slot_moves_under_load() {
    moves::of_redis(SLOT_ENTRIES, FLOW_IN_SHORT, false);
}

#[test]
#[ignore = "readers of a slot that is half way wait long, and Valkey's servers are another stack"]
fn a_slot_moves_otherwise() {
    moves::of_valkey(SLOT_ENTRIES, FLOW_IN_SHORT);
    moves::of_redis(SLOT_ENTRIES, FLOW_IN_SHORT, true);
}

#[test]
#[ignore = "minutes: four slots of 200,000 entries, on each of two servers"]
fn a_large_slot_moves_under_load() {
    moves::of_redis(SLOT_ENTRIES_LARGE, FLOW / 2, false);
    moves::of_valkey(SLOT_ENTRIES_LARGE, FLOW / 2);
}

#[test]
fn some_faults_under_load_are_repaired() {
    faults::some_are_repaired();
}

#[test]
#[ignore = "an hour: 40,000 changes and reads for each fault, or LOCKSTEP_RECOVERY_FLOW; all, or those that LOCKSTEP_RECOVERY_FAULT is in"]
fn faults_under_load_are_repaired() {
    let set = |name| std::env::var(name).ok();
    let flow = set("LOCKSTEP_RECOVERY_FLOW").and_then(|flow| flow.parse().ok());
    faults::all_are_repaired(flow.unwrap_or(FLOW), &set("LOCKSTEP_RECOVERY_FAULT").unwrap_or_default());
}

#[test]
#[ignore = "minutes: PostgreSQL 18 and a standby are another stack"]
fn a_promotion_loses_commits() {
    faults::a_promotion_loses_commits();
}
