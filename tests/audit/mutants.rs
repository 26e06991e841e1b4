//! Mistakes in the functions, loaded in the library's place beneath a system at work: the auditor reports each of them.

use std::time::{Duration, Instant};

use crate::found::audit;
use crate::harness::until;
use crate::mistakes::{LIBRARY, with_mistake};
use crate::shop::{Shop, Writer, connect};

const UNSEEN_MAX: Duration = Duration::from_secs(60);
/// Between two audits.
const CHANGES: u64 = 3_000;

/// Those that leave wrong copies behind without a fail-over or a second engine. Others cost misses only, or show to readers
/// that follow one key, which the auditor is not: where what lies in between is refreshed, an entry goes back to an older
/// state, but comes to the newest again with the changes that follow.
const SEEN: [&str; 3] = ["absent is created", "nulls stay", "a drop leaves the entry"];

/// Plants each of them in turn, and fails for those that nobody has reported.
pub fn are_reported(shop: &Shop) {
    let mut unseen = Vec::new();
    for name in SEEN {
        clear(shop);
        load(shop, &with_mistake(name));
        let began = Instant::now();
        let mut is_seen = false;
        while !is_seen && began.elapsed() < UNSEEN_MAX {
            // What a mistake has left behind stays there; rows that change all the time would hide it.
            let writer = Writer::start(shop);
            until("some changes", UNSEEN_MAX, || (writer.changes() >= CHANGES).then_some(()));
            writer.end();
            shop.settle();
            is_seen = audit(&shop.lockstep).code == Some(1);
        }
        eprintln!("{name}: {} after {:.1?}", if is_seen { "seen" } else { "unseen" }, began.elapsed());
        load(shop, LIBRARY);
        if !is_seen {
            unseen.push(name);
        }
    }
    assert!(unseen.is_empty(), "nobody saw {unseen:?}");
}

fn primaries(shop: &Shop) -> impl Iterator<Item = redis::Connection> {
    let all = shop.endpoints().l1.iter().chain([&shop.endpoints().l2]).map(|url| connect(url));
    all.filter_map(|mut node| {
        let info: String = redis::cmd("INFO").arg("replication").query(&mut node).expect("a role");
        info.contains("role:master").then_some(node)
    })
}

/// Nothing of an earlier mistake is left.
fn clear(shop: &Shop) {
    for mut node in primaries(shop) {
        let () = redis::cmd("FLUSHALL").query(&mut node).expect("an empty node");
    }
    shop.settle();
}

fn load(shop: &Shop, text: &str) {
    for mut node in primaries(shop) {
        let _: String =
            redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(text).query(&mut node).expect("a library");
    }
}
