//! Where the rules live, and where the keys that they need together.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_schemas::policy::{DEFAULT, Policy};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Action, Applied, Fill, Filled, Layout, Place, Read, Tier};

use crate::bench::{Bench, TIMELINE, TTL, at, plain};

const PARTITIONS: u32 = 16;

async fn libraries(url: &str) -> String {
    let answer: redis::Value =
        redis::cmd("FUNCTION").arg("LIST").query_async(&mut plain(url).await).await.expect("a list");
    format!("{answer:?}")
}

async fn flush(url: &str) {
    let _: () = redis::cmd("FUNCTION").arg("FLUSH").query_async(&mut plain(url).await).await.expect("flushed");
}

/// A tier of many places, which the primaries share.
async fn wide(bench: &Bench, user: &str) -> Tier {
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let namespace = format!("wide/16.{}.", bench.tier.name.as_str());
    bench.another(Arc::new(Layout::new(&policy, &namespace, PARTITIONS)), user).await
}

/// A node that was restarted empty, or that somebody flushed.
pub async fn a_flushed_library_is_loaded_again(bench: &Bench) {
    let tier = wide(bench, "").await;
    for url in bench.primaries() {
        assert!(libraries(url).await.contains("lockstep1_apply"), "{url} has no library to begin with");
        flush(url).await;
    }
    for n in 0..64 {
        let place = tier.layout().place(&bench.view.group, &n.to_string());
        let read = tier.read(&place, &bench.key(&n.to_string()), None).await;
        assert!(matches!(read, Ok(Read::Lease(_) | Read::Busy(_))), "{read:?}");
    }
    for url in bench.primaries() {
        assert!(libraries(url).await.contains("lockstep1_apply"), "{url} has no library");
    }
}

/// However often one primary is flushed, no call fails.
pub async fn a_library_flushed_under_calls_is_loaded_again(bench: &Bench) {
    let tier = wide(bench, "").await;
    let calls = async {
        for n in 0.. {
            let entity = (n % 40).to_string();
            let place = tier.layout().place(&bench.view.group, &entity);
            let read = tier.read(&place, &bench.key(&entity), None).await;
            assert!(read.is_ok(), "call {n}: {read:?}");
        }
    };
    let flushes = async {
        for _ in 0..25 {
            flush(&bench.primaries()[0]).await;
            while !libraries(&bench.primaries()[0]).await.contains("lockstep1_apply") {}
        }
    };
    tokio::select! {
        () = calls => {}
        () = flushes => {}
    }
}

/// Where a server refuses functions to us, the same rules go as scripts.
pub async fn a_user_without_functions_is_served_by_scripts(bench: &Bench) {
    for url in bench.nodes() {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg("plain").arg(&["on", ">secret", "~*", "+@all", "-function", "-fcall"]);
        let _: () = command.query_async(&mut plain(url).await).await.expect("a user");
        // Else the scripts may be known from an earlier time.
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut plain(url).await).await.expect("flushed");
    }
    for at_start in [true, false] {
        let tier = bench.another(bench.tier.layout().clone(), "plain:secret@").await;
        if at_start {
            tier.load_library().await.expect("nothing to load is no failure");
        }
        check_all_functions(bench, &tier).await;
        bench.remove(&bench.marker_name("7")).await;
        bench.remove(&bench.watermark_name()).await;
    }
}

async fn check_all_functions(bench: &Bench, tier: &Tier) {
    let (place, key) = (&bench.place, bench.key("7"));
    let Ok(Read::Lease(lease)) = tier.read(place, &key, None).await else { panic!("no lease") };
    let fields = vec![("stock".into(), "3".to_owned())];
    let fill = Fill {
        nonce: &lease.nonce,
        low: Position::LEAST,
        high: at(1),
        source_at: Position::GREATEST,
        timeline: TIMELINE,
        ttl: TTL,
        fields: Some(&fields),
    };
    assert_eq!(tier.fill(place, &key, &fill).await.expect("an answer"), Filled::Ok);
    let read = tier.read(place, &key, Some(TTL)).await;
    assert!(matches!(read, Ok(Read::Hit(ref hit)) if hit.fields.as_ref() == Some(&fields)), "{read:?}");
    let actions = [(key, Action::Invalidate)];
    let applied = tier.apply(place, &bench.batch(Position::LEAST, at(5), &actions)).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: 0, dropped: 1, mine: vec![0] });
    assert_eq!(tier.own(place, at(5), "us", (at(4), 4)).await.expect("an answer"), Ok((at(4), 4)));
    let mark = tier.watermark(place).await.expect("an answer").expect("a watermark");
    assert_eq!((mark.position, mark.l3), (at(5), Some((at(4), 4))));
}

/// Versions live side by side; the older ones are removed by hand. Newer ones and those of others stay.
pub async fn older_versions_are_pruned(bench: &Bench) {
    let others = ["lockstep0", "lockstep2", "shop1"];
    for url in bench.primaries() {
        for name in others {
            let text = format!("#!lua name={name}\nredis.register_function('{name}_read', function() return 1 end)");
            let mut command = redis::cmd("FUNCTION");
            command.arg("LOAD").arg("REPLACE").arg(text);
            let _: String = command.query_async(&mut plain(url).await).await.expect("loaded");
        }
    }
    let count = bench.primaries().len();
    let installed = bench.tier.libraries().await.expect("a list");
    let names: Vec<&str> = installed.iter().map(|one| one.library.as_str()).collect();
    for (name, expected) in [("lockstep0", count), ("lockstep1", count), ("lockstep2", count), ("shop1", 0)] {
        assert_eq!(names.iter().filter(|found| **found == name).count(), expected, "{name} in {installed:?}");
    }
    let pruned = bench.tier.prune_libraries().await.expect("pruned");
    assert_eq!(pruned.len(), count);
    assert!(pruned.iter().all(|one| one.library == "lockstep0"), "{pruned:?}");
    for url in bench.primaries() {
        let left = libraries(url).await;
        let there = |name: &&str| left.contains(*name);
        assert!(!there(&"lockstep0") && ["lockstep1_read", "lockstep2", "shop1"].iter().all(there), "{left}");
        for name in ["lockstep2", "shop1"] {
            let mut command = redis::cmd("FUNCTION");
            let _: () = command.arg("DELETE").arg(name).query_async(&mut plain(url).await).await.expect("removed");
        }
    }
}

/// Two installations on the same servers, told apart by their prefixes.
pub async fn a_namespace_keeps_installations_apart(bench: &Bench) {
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let layout = |namespace: &str| Arc::new(Layout::new(&policy, namespace, 1));
    let namespace = format!("apart.{}.", bench.tier.name.as_str());
    let ours = bench.another(layout(&format!("{namespace}a.")), "").await;
    let theirs = bench.another(layout(&format!("{namespace}b.")), "").await;
    for tier in [&ours, &theirs] {
        let read = tier.read(&bench.place, &bench.key("7"), None).await;
        assert!(matches!(read, Ok(Read::Lease(_))), "{read:?}");
    }
    let actions = [(bench.key("7"), Action::Invalidate)];
    let applied = ours.apply(&bench.place, &bench.batch(Position::LEAST, at(5), &actions)).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: 0, dropped: 0, mine: vec![0] });
    assert_eq!(theirs.watermark(&bench.place).await.expect("an answer"), None);
    let read = theirs.read(&bench.place, &bench.key("7"), None).await;
    assert!(matches!(read, Ok(Read::Busy(ref mark)) if mark.position == Position::LEAST), "{read:?}");
}

/// [70], [72]: on a cluster all keys of a place share a slot, and the places share the primaries out.
pub async fn a_place_is_one_slot(bench: &Bench) {
    if !bench.is_cluster() {
        // Here names need no tag, and bear none.
        assert!(!bench.entry_name("7").contains(['{', '}']));
        bench.tier.read(&bench.place, &bench.key("7"), None).await.expect("an answer");
        assert!(!bench.marker("7").await.is_empty(), "the marker lies under the plain name");
        return;
    }
    let tier = wide(bench, "").await;
    let layout = tier.layout();
    let mut used = BTreeSet::new();
    for n in 0..64 {
        let place = layout.place(&bench.view.group, &format!("slot{n}"));
        used.insert(place.partition);
        // Redis refuses a call whose keys lie in several slots.
        let read = tier.read(&place, &bench.key(&format!("slot{n}")), None).await;
        assert!(matches!(read, Ok(Read::Lease(_))), "{read:?}");
    }
    assert_eq!(used.len(), PARTITIONS as usize);
    let names =
        (0..PARTITIONS).map(|partition| layout.watermark(&Place { group: bench.view.group.clone(), partition }));
    let mut asked = plain(&bench.endpoints.l1[0]).await;
    let mut slots = BTreeSet::new();
    for name in names {
        let slot: u32 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(name).query_async(&mut asked).await.expect("a slot");
        slots.insert(slot * PARTITIONS / 16_384);
    }
    assert_eq!(slots.len(), PARTITIONS as usize, "each place has its own sixteenth of the slots");
}
