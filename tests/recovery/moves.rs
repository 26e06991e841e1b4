//! A cluster's slot goes from one primary to another while changes and reads flow.

use std::time::Duration;

use lockstep_stack::{RedisVersion, StackOptions};
use serde_json::Value;

use crate::harness::process::send;
use crate::harness::until;
use crate::load::Load;
use crate::site::{LIMIT, PARTITIONS, Site};

const CALLED_WRONGLY: i32 = 64;
/// The moves take what they take; a slow machine beside other builds.
const MOVE_LIMIT: Duration = Duration::from_secs(300);
/// Each copy of some hundred thousand is compared, on every node.
const AUDIT_LIMIT: Duration = Duration::from_secs(900);

/// A slot of about so many entries, with so many changes and reads before it and behind it; and, where asked for, one that
/// another tool has left half way.
pub fn of_redis(entries: usize, flow: usize, half_way: bool) {
    let site = clustered(RedisVersion::V7, entries);
    let load = Load::start(&site);
    load.flowed(flow);
    let (slot, node, to) = a_way(&site, "catalogue.1");
    assert!(slot["names"].as_u64() >= Some(entries as u64 * 9 / 10), "{slot}");
    // Killed while it empties the slot: what it has begun is ended by the next one.
    let killed = site.shop.lockstep.start(&["move", "catalogue.1", "--tier", "l2", "--to", &to, "--rate", "200"]);
    let names = |site: &Site| a_slot(site, "catalogue.1")["names"].as_u64();
    until("the slot to be emptied", LIMIT, || (names(&site) < slot["names"].as_u64()).then_some(()));
    send(killed.pid(), libc::SIGKILL);
    drop(killed);
    assert_eq!(a_slot(&site, "catalogue.1")["node"].as_str(), Some(&*node), "it has not gone yet");
    let told = moved(&site, "catalogue.1", &to);
    eprintln!("redis: a slot of {} names under load: {told}", slot["names"]);
    assert_eq!(told["how"], "name_by_name", "{told}");
    assert_eq!(a_slot(&site, "catalogue.1")["node"].as_str(), Some(&*to));
    assert_eq!(moved(&site, "catalogue.1", &to)["how"], "was_there", "twice is as good as once");
    if half_way {
        what_is_half_way_is_ended(&site);
    }
    ends_well(&site, load, flow);
    refusals(&site, half_way);
    site.close();
}

pub fn of_valkey(entries: usize, flow: usize) {
    let site = clustered(RedisVersion::Valkey9, entries);
    let load = Load::start(&site);
    load.flowed(flow);
    let (slot, _, to) = a_way(&site, "catalogue.1");
    let told = moved(&site, "catalogue.1", &to);
    eprintln!("valkey: a slot of {} names under load: {told}", slot["names"]);
    assert_eq!(told["how"], "at_one_stroke", "{told}");
    let after = a_slot(&site, "catalogue.1");
    assert_eq!(after["node"].as_str(), Some(&*to), "{after}");
    assert!(after["names"].as_u64() >= Some(entries as u64 * 9 / 10), "its entries went with it: {after}");
    let said = site.roles.text();
    let waited = ["slot is on the move", "the tier is detached"].into_iter().find(|words| said.contains(words));
    assert_eq!(waited, None, "nobody was asked to wait");
    ends_well(&site, load, flow);
    site.close();
}

/// Somebody was killed while the names went: the lanes say so, and the same command ends it.
fn what_is_half_way_is_ended(site: &Site) {
    let (slot, from, to) = a_way(site, "catalogue.2");
    let number = slot["slot"].as_u64().expect("a slot").to_string();
    let (mut source, mut target) = (node(&from), node(&to));
    let id = |of: &mut redis::Connection| redis::cmd("CLUSTER").arg("MYID").query::<String>(of).expect("an id");
    let (source_id, target_id) = (id(&mut source), id(&mut target));
    let set = |on: &mut redis::Connection, state: &str, other: &str| {
        redis::cmd("CLUSTER").arg("SETSLOT").arg(&number).arg(state).arg(other).exec(on).expect("a state");
    };
    set(&mut target, "IMPORTING", &source_id);
    set(&mut source, "MIGRATING", &target_id);
    let waits = |line: &str| line.contains("the partition's slot is on the move").then_some(());
    site.roles.line("a lane that waits", LIMIT, waits);
    let status = a_slot(site, "catalogue.2");
    assert_eq!(status["moves_to"].as_str(), Some(&*to), "{status}");
    let told = moved(site, "catalogue.2", &to);
    assert_eq!((&told["how"], &told["removed"]), (&"name_by_name".into(), &0.into()), "{told}");
    assert_eq!(a_slot(site, "catalogue.2")["node"].as_str(), Some(&*to));
}

/// It all flows on, no copy is stale, and nobody was shown anything backwards.
fn ends_well(site: &Site, load: Load, flow: usize) {
    load.flowed(flow);
    let (changes, reads, failed, backwards) = load.end();
    eprintln!("{changes} changes, {reads} reads ({failed} without an answer) meanwhile");
    assert!(backwards.is_empty(), "{backwards:?}");
    site.settled();
    let audit = site.shop.lockstep.start(&["audit", "--full", "--once"]).wait(AUDIT_LIMIT);
    assert_eq!(audit.code, Some(0), "{audit}");
}

fn refusals(site: &Site, two_are_empty: bool) {
    let (_, node, _) = a_way(site, "catalogue.1");
    for (command, words) in [
        (format!("move catalogue.9 --tier l2 --to {node}"), "there is no lane `catalogue.9`"),
        ("move catalogue.1 --tier l2 --to 127.0.0.1:1".to_owned(), "is no primary of the cluster"),
    ] {
        let ended = site.shop.lockstep.run(&command.split(' ').collect::<Vec<_>>());
        assert!(ended.code == Some(CALLED_WRONGLY) && ended.stderr.contains(words), "{ended}");
    }
    let planned = &site.ask_json("placement --tier l2 --nodes 4")[0];
    let is_new = |one: &Value| one["to"] == "new-1";
    let moves = planned["plan"]["moves"].as_array().expect("moves");
    // Where two slots were emptied, a node of the old ones may be as empty as the new one.
    assert!(moves.iter().any(is_new) || two_are_empty && !moves.is_empty(), "{planned}");
    assert!(planned["plan"]["bytes_after"]["new-1"].is_u64(), "{planned}");
    assert!(site.ask("placement").contains("lanes"), "for people");
}

/// L2 as a cluster, with so many entries in each partition of the catalogue.
fn clustered(redis_version: RedisVersion, entries: usize) -> Site {
    let site = Site::of(StackOptions { redis_version, redis_l2_cluster: true, ..StackOptions::default() });
    let last = entries * PARTITIONS - 1;
    let lsn = site.shop.commit(&format!(
        "INSERT INTO products (product_id, name) SELECT 'M' || n, 'bowl' FROM generate_series(0, {last}) AS n"
    ));
    let limit = format!("{}s", MOVE_LIMIT.as_secs());
    let applied = site.shop.lockstep.start(&["wait", "--for", &lsn, "--tier", "l2", "--timeout", &limit]);
    assert_eq!(applied.wait(MOVE_LIMIT).code, Some(0));
    let warm = site.shop.lockstep.start(&["warm", "product_all"]).wait(MOVE_LIMIT);
    assert_eq!(warm.code, Some(0), "{warm}");
    site
}

fn moved(site: &Site, lane: &str, to: &str) -> Value {
    let ended = site.shop.lockstep.start(&["move", lane, "--tier", "l2", "--to", to, "-o", "json"]).wait(MOVE_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// A lane's slot, the node that has it, and another node.
fn a_way(site: &Site, lane: &str) -> (Value, String, String) {
    let slot = a_slot(site, lane);
    let nodes = site.ask_json("placement --tier l2")[0]["nodes"].clone();
    let nodes: Vec<String> = serde_json::from_value(nodes).expect("nodes");
    let node = slot["node"].as_str().expect("a node").to_owned();
    let other = nodes.into_iter().find(|other| *other != node).expect("another node");
    (slot, node, other)
}

fn a_slot(site: &Site, lane: &str) -> Value {
    let placement = &site.ask_json("placement --tier l2")[0];
    let slots = placement["slots"].as_array().expect("slots");
    let has = |slot: &&Value| slot["lanes"].as_array().is_some_and(|lanes| lanes.iter().any(|one| one == lane));
    slots.iter().find(has).unwrap_or_else(|| panic!("{lane} in {placement}")).clone()
}

fn node(address: &str) -> redis::Connection {
    redis::Client::open(format!("redis://{address}/")).and_then(|client| client.get_connection()).expect("a node")
}
