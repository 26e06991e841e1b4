//! fill: a whole entry, once, under a lease that still stands.

use lockstep_schemas::entry::Fields;
use lockstep_schemas::position::Position;
use lockstep_tiers::tier::ENTRY_BYTES_MAX;
use lockstep_tiers::{Applied, Fill, Filled, Read};

use crate::bench::{Bench, Hash, TIMELINE, TTL, at, refresh};

/// Fills entry 7 with a stock of 4.
async fn fill(
    bench: &Bench,
    nonce: &str,
    low: Position,
    high: Position,
    source_at: Position,
    timeline: &str,
) -> String {
    let (low, high, source_at) = (low.to_string(), high.to_string(), source_at.to_string());
    let fields = [("stock", "4"), ("_born", "123"), ("_low", &*low), ("_high", &*high)];
    let answer = bench.call_fill("fill", &[&source_at, timeline, "60000", nonce, &low], &[("7", &fields)]).await;
    let [word] = answer.as_slice() else { panic!("{answer:?}") };
    word.clone()
}

fn entry(low: Position, high: Position) -> Hash {
    let fields = [("stock", "4"), ("_born", "123"), ("_low", &low.to_string()), ("_high", &high.to_string())];
    fields.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

pub async fn a_fill_needs_its_lease(bench: &Bench) {
    assert_eq!(fill(bench, "one", at(5), at(6), Position::GREATEST, "").await, "void", "nobody has a lease");
    bench.plant_marker("7", "two", at(5)).await;
    assert_eq!(fill(bench, "one", at(5), at(6), Position::GREATEST, "").await, "void", "somebody else has it");
    assert!(bench.entry("7").await.is_empty());
    assert_eq!(bench.marker("7").await["nonce"], "two", "the other one's lease stands");
}

pub async fn a_fill_writes_the_whole_entry(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_marker("7", "one", at(5)).await;
    assert_eq!(fill(bench, "one", at(5), at(6), at(5), TIMELINE).await, "ok");
    assert_eq!(bench.entry("7").await, entry(at(5), at(6)));
    assert!(bench.marker("7").await.is_empty(), "the lease is used up");
    let life = bench.life_ms(&bench.entry_name("7")).await;
    assert!((1..=60_000).contains(&life), "{life} ms");
    bench.plant(&bench.entry_name("7"), &[("old", "1")]).await;
    bench.plant_marker("7", "two", at(5)).await;
    assert_eq!(fill(bench, "two", at(5), at(9), at(9), TIMELINE).await, "ok");
    assert_eq!(bench.entry("7").await, entry(at(5), at(9)), "nothing of what was there");
}

/// [14i]: else the second one would bring the old row back over a refresh.
pub async fn a_fill_sent_twice_is_void(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_marker("7", "one", at(5)).await;
    assert_eq!(fill(bench, "one", at(5), at(6), at(5), TIMELINE).await, "ok");
    let actions = [(bench.key("7"), refresh(at(8), &[("stock", Some("1"))]))];
    let applied = bench.tier.apply(&bench.place, &bench.batch(at(5), at(8), &actions)).await;
    assert!(matches!(applied, Ok(Applied::Ok { refreshed: 1, .. })), "{applied:?}");
    assert_eq!(fill(bench, "one", at(5), at(6), at(5), TIMELINE).await, "void");
    assert_eq!(bench.entry("7").await["stock"], "1");
}

/// [14i]: an entry beside its marker is against the rules; should it happen, nothing of it survives.
pub async fn a_fill_never_writes_into_what_is_there(bench: &Bench) {
    bench.plant_entry("7", at(9), at(9)).await;
    bench.plant_marker("7", "one", at(5)).await;
    assert_eq!(fill(bench, "one", at(5), at(6), at(5), "").await, "ok");
    assert_eq!(bench.entry("7").await, entry(at(5), at(6)), "no category from before");
}

/// A server that had both in one listpack would end itself at the next change.
pub async fn a_field_twice_is_there_once(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_marker("7", "one", at(5)).await;
    let fields: Fields = [("line:1", "2"), ("line:1", "3")].map(|(name, text)| (name.into(), text.to_owned())).into();
    let twice = Fill {
        nonce: "one",
        low: at(5),
        high: at(6),
        source_at: Position::GREATEST,
        timeline: TIMELINE,
        ttl: TTL,
        fields: Some(&fields),
    };
    assert_eq!(bench.tier.fill(&bench.place, &bench.key("7"), &twice).await.expect("an answer"), Filled::Ok);
    let long = "x".repeat(100);
    bench.plant(&bench.entry_name("7"), &[("line:1", &long)]).await;
    let entry = bench.entry("7").await;
    assert_eq!((entry.len(), &entry["line:1"]), (4, &long));
}

pub async fn an_absence_is_filled_and_read(bench: &Bench) {
    let Read::Lease(lease) = bench.tier.read(&bench.place, &bench.key("7"), None).await.expect("an answer") else {
        panic!("no lease");
    };
    let absence = Fill {
        nonce: &lease.nonce,
        low: at(5),
        high: at(6),
        source_at: Position::GREATEST,
        timeline: TIMELINE,
        ttl: TTL,
        fields: None,
    };
    assert_eq!(bench.tier.fill(&bench.place, &bench.key("7"), &absence).await.expect("an answer"), Filled::Ok);
    assert!(!bench.entry("7").await["_neg"].is_empty());
    let read = bench.tier.read(&bench.place, &bench.key("7"), None).await;
    assert!(matches!(read, Ok(Read::Hit(ref hit)) if hit.fields.is_none()), "{read:?}");
}

/// Whatever is refused, the lease is used up and nothing is written.
async fn check_refused(bench: &Bench, expected: &str, answer: String) {
    assert_eq!(answer, expected);
    assert!(bench.entry("7").await.is_empty() && bench.marker("7").await.is_empty());
    bench.plant_marker("7", "one", at(5)).await;
}

pub async fn below_the_floor_is_refused(bench: &Bench) {
    bench.plant_watermark(at(9)).await;
    bench.plant(&bench.watermark_name(), &[("floor", &at(6).to_string())]).await;
    bench.plant_marker("7", "one", at(5)).await;
    check_refused(bench, "floor", fill(bench, "one", at(5), at(9), at(9), TIMELINE).await).await;
    assert_eq!(fill(bench, "one", at(6), at(9), at(9), TIMELINE).await, "ok", "the floor itself lives");
}

/// [3a]: L2 has forgotten what L1 has shown.
pub async fn a_source_behind_the_lease_is_refused(bench: &Bench) {
    bench.plant_marker("7", "one", at(5)).await;
    check_refused(bench, "behind", fill(bench, "one", at(9), at(9), at(4), TIMELINE).await).await;
    assert_eq!(fill(bench, "one", at(9), at(9), at(5), TIMELINE).await, "ok");
}

/// [13e]: read from a deposed primary.
pub async fn another_timeline_is_refused(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_marker("7", "one", at(5)).await;
    check_refused(bench, "timeline", fill(bench, "one", at(5), at(5), at(9), "00000002").await).await;
    bench.plant(&bench.watermark_name(), &[("timeline", "")]).await;
    assert_eq!(fill(bench, "one", at(5), at(5), at(9), "00000002").await, "ok", "an empty timeline checks nothing");
}

/// Each has its own lease, and what becomes of one is nothing to the others.
pub async fn many_are_filled_in_one_call(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant(&bench.watermark_name(), &[("floor", &at(4).to_string())]).await;
    for (entity, nonce, pos) in [("7", "one", 5), ("8", "two", 5), ("9", "one", 7), ("10", "one", 6)] {
        bench.plant_marker(entity, nonce, at(pos)).await;
    }
    let (low, source_at) = (at(5).to_string(), at(6).to_string());
    let stocks = ["4", "5", "6", "7"].map(|stock| [("stock", stock), ("_low", &*low), ("_high", &*low)]);
    let entries: Vec<(&str, &[(&str, &str)])> =
        ["7", "8", "9", "10"].into_iter().zip(stocks.iter().map(|f| &f[..])).collect();
    let answer = bench.call_fill("fill", &[&source_at, TIMELINE, "60000", "one", &low], &entries).await;
    assert_eq!(answer, ["ok", "void", "behind", "ok"]);
    assert_eq!((&*bench.entry("7").await["stock"], &*bench.entry("10").await["stock"]), ("4", "7"));
    assert!(bench.entry("8").await.is_empty() && bench.entry("9").await.is_empty());
    assert_eq!(bench.marker("8").await["nonce"], "two", "somebody else's lease stands");
    assert!(bench.marker("7").await.is_empty() && bench.marker("9").await.is_empty(), "these are used up");
}

pub async fn an_entry_too_large_is_refused(bench: &Bench) {
    for (bytes, expected) in [(ENTRY_BYTES_MAX + 1, Filled::Refused), (ENTRY_BYTES_MAX, Filled::Ok)] {
        bench.plant_marker("7", "one", at(5)).await;
        let fields: Fields = vec![("name".into(), "x".repeat(bytes - "name".len()))];
        let fill = Fill {
            nonce: "one",
            low: at(5),
            high: at(5),
            source_at: Position::GREATEST,
            timeline: "",
            ttl: TTL,
            fields: Some(&fields),
        };
        assert_eq!(bench.tier.fill(&bench.place, &bench.key("7"), &fill).await.expect("an answer"), expected);
        assert_eq!(bench.entry("7").await.is_empty(), expected == Filled::Refused);
    }
}
