//! Where the rules live, and where the keys that they need together.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_schemas::policy::{DEFAULT, Policy};
use lockstep_tiers::{Layout, Place, Read};

use crate::bench::{Bench, at, cluster, plain};

/// The nodes that take writes: L2, or the cluster's three primaries.
fn primaries(bench: &Bench) -> &[String] {
    if bench.is_cluster() { &bench.endpoints.l1[..3] } else { std::slice::from_ref(&bench.endpoints.l2) }
}

async fn has_library(url: &str) -> bool {
    let answer: redis::Value =
        redis::cmd("FUNCTION").arg("LIST").query_async(&mut plain(url).await).await.expect("a list");
    format!("{answer:?}").contains("lockstep1_apply")
}

/// A node that was restarted empty, or that somebody flushed.
pub async fn a_flushed_library_is_loaded_again(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    for url in primaries(bench) {
        assert!(has_library(url).await, "{url} has no library to begin with");
        let _: () = redis::cmd("FUNCTION").arg("FLUSH").query_async(&mut plain(url).await).await.expect("flushed");
    }
    let read = bench.tier.read(&bench.place, &bench.key("7"), None).await;
    assert!(matches!(read, Ok(Read::Lease(ref lease)) if lease.mark.position == at(5)), "{read:?}");
    for url in primaries(bench) {
        assert!(has_library(url).await, "{url} has no library");
    }
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
    const PARTITIONS: u32 = 16;
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let layout = Arc::new(Layout::new(&policy, "a_place_is_one_slot/16.", PARTITIONS));
    let tier = cluster(&bench.endpoints, layout.clone()).await;
    let mut used = BTreeSet::new();
    for n in 0..64 {
        let place = layout.place(&bench.view.group, &n.to_string());
        used.insert(place.partition);
        // Redis refuses a call whose keys lie in several slots.
        let read = tier.read(&place, &bench.key(&n.to_string()), None).await;
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
