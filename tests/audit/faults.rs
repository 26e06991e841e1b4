//! A hundred faults behind the engine's back, of every kind, in every tier.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use redis::{Commands as _, Connection};

use crate::harness::until;
use crate::shop::{Shop, connect};

pub const FAULTS: usize = 100;
/// Products whose entry is wrong for a moment, so that the edge keeps a page of it.
const AT_THE_EDGE: RangeInclusive<usize> = 1..=10;
/// Products of which something is made wrong.
const ALL: RangeInclusive<usize> = 1..=79;
const LIFE_MS: i64 = 3_600_000;
const DROP_LIMIT: Duration = Duration::from_secs(20);

type Planted = BTreeSet<(&'static str, String)>;

/// Tier and key of each.
pub fn plant(shop: &Shop) -> Planted {
    let (mut planted, mut l2) = (Planted::new(), shop.l2());
    // The traffic has had some dropped, and nobody has asked for them since.
    for n in ALL {
        shop.get(&format!("{}/v1/product/P{n}", shop.endpoints().gateway));
    }
    at_the_edge(shop, &mut l2, AT_THE_EDGE, &mut planted);
    // Deleted while the row is there to be remembered.
    of_deleted_rows(shop, &mut l2, 11..=20, &mut planted);
    let key = |n: usize| format!("product:all:P{n}");
    for n in 21..=35 {
        let price: i64 = l2.hget(key(n), "price_pence").expect("a price");
        let () = l2.hset(key(n), "price_pence", price + 1).expect("a stale value");
        planted.insert(("l2", key(n)));
    }
    for n in 36..=45 {
        let () = l2.hset(key(n), "colour", "red").expect("a field too many");
        planted.insert(("l2", key(n)));
    }
    for n in 46..=55 {
        let () = l2.hdel(key(n), "stock").expect("a field missing");
        planted.insert(("l2", key(n)));
    }
    for n in 56..=65 {
        let entry: BTreeMap<String, String> = l2.hgetall(key(n)).expect("an entry");
        let () = l2.del(key(n)).expect("no entry");
        let own = ["_low", "_high", "_born"].map(|name| (name, entry[name].clone()));
        let () = l2.hset_multiple(key(n), &own).expect("bounds");
        let () = l2.hset(key(n), "_neg", 1).expect("an absence of what exists");
        let () = l2.pexpire(key(n), LIFE_MS).expect("an end");
        planted.insert(("l2", key(n)));
    }
    for n in 76..=78 {
        let () = l2.set(key(n), "a bowl").expect("a text in an entry's place");
        planted.insert(("l2", key(n)));
    }
    let () = l2.hset(key(79), "name", b"\xff\xfe").expect("a value that is no text");
    planted.insert(("l2", key(79)));
    for n in 1..=11 {
        let orphan = format!("product:all:NOBODY-{n}");
        let () = l2.hset(&orphan, "price_pence", 1).expect("an entry of no row");
        planted.insert(("l2", orphan));
    }
    on_primaries(shop, 1..=10, &mut planted);
    on_one_replica(shop, 66..=75, &mut planted);
    planted
}

/// Whether a copy was wrong while the faults were planted, and is right by now: who sampled it then has told the truth.
pub fn was_wrong_for_a_moment(tier: &str, key: &str) -> bool {
    tier == "l2" && AT_THE_EDGE.into_iter().any(|n| key == format!("product:all:P{n}"))
}

/// A stale value in each tier, each of another entity.
pub fn plant_one_each(shop: &Shop) -> Planted {
    let (mut planted, mut l2) = (Planted::new(), shop.l2());
    // What was repaired has been dropped, and so has what the traffic touched last.
    for copy in ["profile/1", "product/P80"] {
        shop.get(&format!("{}/v1/{copy}", shop.endpoints().gateway));
    }
    at_the_edge(shop, &mut l2, 1..=1, &mut planted);
    let price: i64 = l2.hget("product:all:P80", "price_pence").expect("a price");
    let () = l2.hset("product:all:P80", "price_pence", price + 1).expect("a stale value");
    planted.insert(("l2", "product:all:P80".to_owned()));
    on_primaries(shop, 1..=1, &mut planted);
    planted
}

/// Pages made from stale entries that get their values back.
fn at_the_edge(shop: &Shop, l2: &mut Connection, of: RangeInclusive<usize>, planted: &mut Planted) {
    for n in of {
        let (product, key) = (format!("P{n}"), format!("product:all:P{n}"));
        // A repair, or a purge of it by the engine, may have dropped it a moment ago.
        let price: i64 = until("an entry", DROP_LIMIT, || {
            shop.get(&format!("{}/v1/product/{product}", shop.endpoints().gateway));
            l2.hget::<_, _, Option<i64>>(&key, "price_pence").ok().flatten()
        });
        let () = l2.hset(&key, "price_pence", price + 1).expect("a stale value");
        shop.purge(&product);
        let kept = || shop.get(&shop.page(&product)).filter(|(_, had)| *had);
        until("the edge to keep the page", DROP_LIMIT, kept);
        let () = l2.hset(&key, "price_pence", price).expect("the value back");
        planted.insert(("l3", format!("/v1/product/{product}")));
    }
}

fn of_deleted_rows(shop: &Shop, l2: &mut Connection, of: RangeInclusive<usize>, planted: &mut Planted) {
    let keys: Vec<String> = of.clone().map(|n| format!("product:all:P{n}")).collect();
    let kept: Vec<Vec<u8>> = keys.iter().map(|key| redis::cmd("DUMP").arg(key).query(l2).expect("a dump")).collect();
    let ids: Vec<String> = of.map(|n| format!("'P{n}'")).collect();
    shop.sql(&format!("DELETE FROM products WHERE product_id IN ({})", ids.join(",")));
    shop.settle();
    for (key, dump) in keys.into_iter().zip(kept) {
        let () = redis::cmd("RESTORE").arg(&key).arg(LIFE_MS).arg(dump).arg("REPLACE").query(l2).expect("an entry");
        planted.insert(("l2", key));
    }
}

/// Names of customers on L1's primaries; the replicas follow.
fn on_primaries(shop: &Shop, of: RangeInclusive<usize>, planted: &mut Planted) {
    for n in of {
        let name = format!("user:{n}");
        let (mut node, key) = find(shop, &name);
        let () = node.hset(key, "name", "Beryl").expect("a stale value");
        planted.insert(("l1", name));
    }
}

/// On a replica alone: its primary has the right value.
fn on_one_replica(shop: &Shop, of: RangeInclusive<usize>, planted: &mut Planted) {
    let mut replica = shop.l2_replica();
    for key in of.map(|n| format!("product:all:P{n}")) {
        let price: i64 = replica.hget(&key, "price_pence").expect("a price");
        let () = replica.hset(&key, "price_pence", price + 1).expect("a stale value");
        planted.insert(("l2", key));
    }
}

/// The primary of L1 that has a key of this name, and the whole key.
fn find(shop: &Shop, name: &str) -> (Connection, String) {
    for url in &shop.endpoints().l1 {
        let mut node = connect(url);
        let info: String = redis::cmd("INFO").arg("replication").query(&mut node).expect("a role");
        if !info.contains("role:master") {
            continue;
        }
        let found: Vec<String> = redis::cmd("KEYS").arg(format!("*}}:{name}")).query(&mut node).expect("keys");
        if let Some(key) = found.into_iter().next() {
            return (node, key);
        }
    }
    panic!("no primary of L1 has {name}");
}
