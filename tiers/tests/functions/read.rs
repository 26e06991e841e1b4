//! read: a hit, somebody else's lease, or one of our own.

use std::time::Duration;

use lockstep_schemas::position::Position;
use lockstep_tiers::Read;

use crate::bench::{Bench, TIMELINE, TTL, at};

pub async fn a_miss_grants_one_lease(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let here = at(5).to_string();
    assert_eq!(bench.call("read", "7", &["one", "3000", "0"]).await, ["lease", &here, TIMELINE, "0", ""]);
    assert_eq!(bench.call("read", "7", &["two", "3000", "0"]).await, ["busy", &here, TIMELINE, "0", ""]);
    let marker = bench.marker("7").await;
    assert_eq!((marker["nonce"].as_str(), &marker["pos"]), ("one", &here));
    let life = bench.life_ms(&bench.marker_name("7")).await;
    assert!((1..=3_000).contains(&life), "a lease of {life} ms");
    assert!(bench.entry("7").await.is_empty());
    assert_eq!(bench.call("read", "8", &["three", "3000", "0"]).await[0], "lease", "another entry has its own lease");
}

pub async fn a_lease_runs_out(bench: &Bench) {
    assert_eq!(bench.call("read", "7", &["one", "30", "0"]).await[0], "lease");
    while bench.life_ms(&bench.marker_name("7")).await != -2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.call("read", "7", &["two", "3000", "0"]).await[0], "lease");
}

pub async fn a_tier_without_a_watermark_is_at_least(bench: &Bench) {
    let Read::Lease(lease) = bench.tier.read(&bench.place, &bench.key("7"), None).await.expect("an answer") else {
        panic!("no lease");
    };
    assert_eq!((lease.mark.position, lease.mark.timeline.as_str()), (Position::LEAST, ""));
    assert_eq!(bench.marker("7").await["nonce"], lease.nonce);
    assert_eq!(bench.tier.watermark(&bench.place).await.expect("an answer"), None);
}

pub async fn a_hit_tells_all(bench: &Bench) {
    let begun = at(4).to_string();
    bench.plant_watermark(at(5)).await;
    bench.plant(&bench.watermark_name(), &[("at", "99"), ("l3_begun", &begun)]).await;
    bench.plant_entry("7", at(3), at(6)).await;
    let Read::Hit(hit) = bench.tier.read(&bench.place, &bench.key("7"), None).await.expect("an answer") else {
        panic!("no hit");
    };
    assert_eq!((hit.mark.position, hit.mark.at, hit.mark.l3_begun), (at(5), 99, Some(at(4))));
    assert_eq!((hit.low, hit.high, hit.mark.timeline.as_str()), (at(3), at(6), TIMELINE));
    let mut fields = hit.fields.expect("a row");
    fields.sort();
    assert_eq!(fields, [("category".into(), "mugs".to_owned()), ("stock".into(), "3".to_owned())]);
    assert!(bench.marker("7").await.is_empty(), "no marker beside an entry");
}

pub async fn a_hit_extends_life_where_the_view_slides(bench: &Bench) {
    bench.plant_entry("7", at(3), at(6)).await;
    let name = bench.entry_name("7");
    let short = i64::try_from(TTL.as_millis()).expect("a life");
    bench.tier.read(&bench.place, &bench.key("7"), None).await.expect("an answer");
    assert!(bench.life_ms(&name).await <= short);
    bench.tier.read(&bench.place, &bench.key("7"), Some(TTL * 2)).await.expect("an answer");
    let life = bench.life_ms(&name).await;
    assert!(life > short && life <= 2 * short, "{life} ms");
}

pub async fn an_entry_too_old_is_a_miss(bench: &Bench) {
    let minute = Duration::from_secs(60);
    for (age, age_max, is_hit) in [(1, Some(minute), true), (3_600, Some(minute), false), (3_600, None, true)] {
        bench.plant_entry("7", at(3), at(6)).await;
        let born = lockstep_process::clock::now_micros() - age * 1_000_000;
        bench.plant(&bench.entry_name("7"), &[("_born", &born.to_string())]).await;
        let read = bench.tier.read_within(&bench.place, &bench.key("7"), None, age_max).await.expect("an answer");
        assert_eq!(matches!(read, Read::Hit(_)), is_hit, "of {age} s: {read:?}");
        assert_eq!(matches!(read, Read::Lease(_)), !is_hit, "of {age} s: {read:?}");
        assert_eq!(bench.entry("7").await.is_empty(), !is_hit, "what is too old is gone");
        bench.remove(&bench.marker_name("7")).await;
    }
    bench.plant_entry("8", at(3), at(6)).await;
    let read = bench.tier.read_within(&bench.place, &bench.key("8"), None, Some(minute)).await;
    assert!(matches!(read, Ok(Read::Hit(_))), "what does not say its age has none: {read:?}");
}
