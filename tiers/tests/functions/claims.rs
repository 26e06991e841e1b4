//! claim and settle: many entries filled without a marker for each, and the right to each of them gone as soon as somebody
//! else wants it.

use lockstep_schemas::entry::Fields;
use lockstep_schemas::key::Key;
use lockstep_tiers::tier::{ENTRIES_MAX, ENTRY_BYTES_MAX, nonce};
use lockstep_tiers::{Action, Claims, Fill, Filled, Found, Read};

use crate::bench::{Bench, TIMELINE, TTL, at, refresh};

/// Names have the length of a nonce.
const CLAIM: &str = "claimclaimclaimclaimclaimclaimcl";
const RUN: &str = "runrunrunrunrunrunrunrunrunrunru";

/// Claims entries, all of which must be missing.
async fn claim(bench: &Bench, run: &str, entities: &[&str]) -> Claims {
    let keys: Vec<Key> = entities.iter().map(|entity| bench.key(entity)).collect();
    let claims = bench.tier.claim(&bench.place, &keys, run).await.expect("an answer");
    assert_eq!(claims.found, vec![Found::Claim; entities.len()]);
    claims
}

/// Settles claimed entries with a stock of 4; what became of each.
async fn settle(bench: &Bench, claims: &Claims, entities: &[&str]) -> Vec<Filled> {
    let fields: Fields = vec![("stock".into(), "4".to_owned())];
    let fill = Fill { fields: Some(&fields), ..of(claims) };
    let keys: Vec<Key> = entities.iter().map(|entity| bench.key(entity)).collect();
    let fills: Vec<_> = keys.iter().map(|key| (key, &fill)).collect();
    bench.tier.settle_many(&bench.place, &fills).await.expect("an answer")
}

/// The fill of an absence.
fn of(claims: &Claims) -> Fill<'_> {
    Fill {
        nonce: &claims.bookmark,
        low: claims.position,
        high: at(9),
        source_at: lockstep_schemas::position::Position::GREATEST,
        timeline: TIMELINE,
        ttl: TTL,
        fields: None,
    }
}

/// What is there, what somebody else fills, what is dead and what is missing.
pub async fn many_are_claimed_in_one_call(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant(&bench.watermark_name(), &[("floor", &at(4).to_string())]).await;
    let here = at(5).to_string();
    let bookmark = format!("{here}{CLAIM}");
    assert_eq!(bench.call_many("claim", &["7", "8"], &[CLAIM, RUN, "3000"]).await, [&here, TIMELINE, &bookmark, ""]);
    assert!(bench.marker("7").await.is_empty(), "no marker of its own");
    let life = bench.life_ms(&bench.claims_name()).await;
    assert!((1..=3_000).contains(&life), "claims of {life} ms");
    bench.plant_entry("9", at(4), at(5)).await;
    bench.plant_entry("10", at(3), at(5)).await;
    bench.plant_marker("12", "one", at(5)).await;
    let answer = bench.call_many("claim", &["9", "10", "11", "12"], &[CLAIM, RUN, "3000"]).await;
    assert_eq!(answer, [&here, TIMELINE, &bookmark, "hit claim claim busy"]);
    assert_eq!(bench.marker("12").await["nonce"], "one", "it stands");
    assert!(bench.entry("10").await.is_empty(), "below the floor");
}

pub async fn what_is_claimed_is_filled_whole(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let claims = claim(bench, RUN, &["7", "8"]).await;
    assert_eq!(settle(bench, &claims, &["7"]).await, [Filled::Ok]);
    let entry = bench.entry("7").await;
    let bounds = (&*entry["_low"], &*entry["_high"]);
    assert_eq!((&*entry["stock"], bounds, entry.len()), ("4", (&*at(5).to_string(), &*at(9).to_string()), 4));
    let life = bench.life_ms(&bench.entry_name("7")).await;
    assert!((1..=60_000).contains(&life), "{life} ms");
    let (key, absence) = (bench.key("8"), of(&claims));
    let filled = bench.tier.settle_many(&bench.place, &[(&key, &absence)]).await;
    assert_eq!(filled.expect("an answer"), [Filled::Ok], "the other half of the claim");
    assert!(!bench.entry("8").await["_neg"].is_empty());
}

/// What a reader wants he gets at once, and fills; what a change concerned nobody may fill with what was read before [14h].
pub async fn a_claim_gives_way(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let claims = claim(bench, RUN, &["7", "8", "9", "10"]).await;
    let read = bench.tier.read(&bench.place, &bench.key("8"), None).await;
    assert!(matches!(read, Ok(Read::Lease(_))), "{read:?}");
    let actions = [(bench.key("9"), Action::Invalidate), (bench.key("10"), refresh(at(6), &[("stock", Some("1"))]))];
    bench.tier.apply(&bench.place, &bench.batch(at(5), at(6), &actions)).await.expect("an answer");
    let later = claim(bench, RUN, &["9", "10"]).await;
    assert_ne!(later.bookmark, claims.bookmark);
    let filled = settle(bench, &claims, &["7", "8", "9", "10"]).await;
    assert_eq!(filled, [Filled::Ok, Filled::Void, Filled::Void, Filled::Void]);
    assert!(!bench.marker("8").await.is_empty(), "the reader's lease stands");
    assert_eq!(settle(bench, &later, &["9", "10"]).await, [Filled::Ok; 2]);
}

/// [14i]: the entry was filled and changed since.
pub async fn a_settlement_sent_twice_brings_nothing_back(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let claims = claim(bench, RUN, &["7"]).await;
    assert_eq!(settle(bench, &claims, &["7"]).await, [Filled::Ok]);
    let actions = [(bench.key("7"), refresh(at(10), &[("stock", Some("1"))]))];
    bench.tier.apply(&bench.place, &bench.batch(at(5), at(10), &actions)).await.expect("an answer");
    assert_eq!(settle(bench, &claims, &["7"]).await, [Filled::Void]);
    assert_eq!(bench.entry("7").await["stock"], "1");
}

/// (d): of two runs that claim one entry the later one has it.
pub async fn two_runs_respect_each_other(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let (one, another) = (nonce(), nonce());
    let first = claim(bench, &one, &["7"]).await;
    let second = claim(bench, &another, &["7"]).await;
    assert_eq!(settle(bench, &first, &["7"]).await, [Filled::Void], "there is more than one run from now on");
    let third = claim(bench, &one, &["7", "8"]).await;
    assert_eq!(settle(bench, &second, &["7"]).await, [Filled::Void]);
    assert_eq!(settle(bench, &third, &["7", "8"]).await, [Filled::Ok; 2]);
}

/// [19e]: a node that fell back knows what was touched before and since, and not what was between: a claim of that time is
/// void, whatever was touched since.
pub async fn a_claim_goes_with_its_bookmark(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let early = claim(bench, RUN, &["7"]).await;
    bench.tier.read(&bench.place, &bench.key("8"), None).await.expect("an answer");
    let late = claim(bench, RUN, &["7", "9"]).await;
    bench.text(&bench.claims_name(), &format!("{RUN}\0\0{}\0", early.bookmark)).await;
    for entity in ["9", "10", "11", "12"] {
        bench.tier.read(&bench.place, &bench.key(entity), None).await.expect("an answer");
    }
    assert_eq!(settle(bench, &late, &["7", "9"]).await, [Filled::Void; 2]);
    assert_eq!(settle(bench, &early, &["7"]).await, [Filled::Ok]);
    bench.remove(&bench.entry_name("7")).await;
    bench.remove(&bench.claims_name()).await;
    assert_eq!(settle(bench, &early, &["7"]).await, [Filled::Void], "it ran out");
    assert!(bench.entry("7").await.is_empty());
}

/// [13b], [13e]: as any fill is.
pub async fn what_is_of_another_history_is_not_settled(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let claims = claim(bench, RUN, &["7"]).await;
    let low = at(5).to_string();
    let entry = [("stock", "4"), ("_low", &*low), ("_high", &*low)];
    let call = async |timeline: &str| {
        bench.call_fill("settle", &[timeline, "60000", &claims.bookmark, &low], &[("7", &entry)]).await
    };
    assert_eq!(call("00000002").await, ["timeline"]);
    bench.plant(&bench.watermark_name(), &[("floor", &at(6).to_string())]).await;
    assert_eq!(call(TIMELINE).await, ["floor"]);
    bench.plant(&bench.watermark_name(), &[("floor", &low), ("timeline", "")]).await;
    assert_eq!(call("00000002").await, ["ok"], "the floor itself lives, and an empty timeline checks nothing");
}

/// What is touched is not kept for ever: the older half goes, and the claims before it are void.
pub async fn of_much_that_was_touched_the_older_half_goes(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let old = claim(bench, RUN, &["7", "8"]).await;
    let mut text = format!("{RUN}\0\0{}\0{}\0", old.bookmark, "x".repeat(15 * 1_024));
    bench.text(&bench.claims_name(), &text).await;
    let late = claim(bench, RUN, &["9", "10"]).await;
    bench.tier.read(&bench.place, &bench.key("10"), None).await.expect("an answer");
    for n in 0..20 {
        bench.tier.read(&bench.place, &bench.key(&format!("{}{n}", "y".repeat(100))), None).await.expect("an answer");
    }
    let last = claim(bench, RUN, &["11"]).await;
    let left: Vec<u8> = bench.bytes(&bench.claims_name()).await;
    assert!(left.len() < 8 * 1_024 && left.starts_with(RUN.as_bytes()), "{} bytes", left.len());
    assert_eq!(settle(bench, &old, &["7"]).await, [Filled::Void]);
    assert_eq!(settle(bench, &late, &["9", "10"]).await, [Filled::Ok, Filled::Void]);
    assert_eq!(settle(bench, &last, &["11"]).await, [Filled::Ok]);
    text = format!("{RUN}\0\0{}\0{}\0", last.bookmark, "x".repeat(128 * 1_024));
    bench.text(&bench.claims_name(), &text).await;
    bench.tier.read(&bench.place, &bench.key("12"), None).await.expect("an answer");
    assert_eq!(bench.life_ms(&bench.claims_name()).await, -2, "given up");
    assert_eq!(settle(bench, &last, &["11"]).await, [Filled::Void]);
}

/// Of several runs all goes, and the one that claims is alone until another comes.
pub async fn of_several_runs_one_is_alone_again(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let (one, another) = (nonce(), nonce());
    claim(bench, &one, &["7"]).await;
    let both = claim(bench, &another, &["8"]).await;
    let several = "*".repeat(RUN.len());
    for (length, expected) in [(1, &several), (16 * 1_024, &another), (128 * 1_024, &another)] {
        let text = format!("{several}\0\0{}\0{}\0", both.bookmark, "x".repeat(length));
        bench.text(&bench.claims_name(), &text).await;
        let claims = claim(bench, &another, &["9"]).await;
        assert!(bench.bytes(&bench.claims_name()).await.starts_with(expected.as_bytes()), "of {length} bytes");
        assert_eq!(settle(bench, &claims, &["9"]).await, [Filled::Ok]);
        bench.evict("9").await;
    }
}

/// [19e]: a call that was sent again comes late, when what was touched since is forgotten: the tier has gone on.
pub async fn a_late_claim_revives_nothing(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let first = bench.call_many("claim", &["7"], &[CLAIM, RUN, "3000"]).await;
    let actions = [(bench.key("7"), Action::Invalidate)];
    bench.tier.apply(&bench.place, &bench.batch(at(5), at(6), &actions)).await.expect("an answer");
    bench.remove(&bench.claims_name()).await;
    bench.call_many("claim", &["7"], &[CLAIM, RUN, "3000"]).await;
    let claims = Claims { position: at(5), timeline: TIMELINE.to_owned(), bookmark: first[2].clone(), found: vec![] };
    assert_eq!(settle(bench, &claims, &["7"]).await, [Filled::Void]);
}

/// Under the name of the claims lies what is none.
pub async fn somebody_elses_value_gives_way(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let strange = async || {
        bench.remove(&bench.claims_name()).await;
        bench.plant(&bench.claims_name(), &[("not", "ours")]).await;
    };
    strange().await;
    bench.tier.read(&bench.place, &bench.key("8"), None).await.expect("an answer");
    assert_eq!(bench.life_ms(&bench.claims_name()).await, -2);
    strange().await;
    let claims = claim(bench, RUN, &["7"]).await;
    assert_eq!(settle(bench, &claims, &["7"]).await, [Filled::Ok]);
    strange().await;
    assert_eq!(settle(bench, &claims, &["9"]).await, [Filled::Void]);
}

/// More than fit into one call, of two sources and two bounds, with one that is too large among them.
pub async fn as_many_calls_as_it_takes(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let run = nonce();
    let keys: Vec<Key> = (0..ENTRIES_MAX + 40).map(|n| bench.key(&n.to_string())).collect();
    let mut claims = None;
    for some in keys.chunks(ENTRIES_MAX) {
        let claimed = bench.tier.claim(&bench.place, some, &run).await.expect("claims");
        assert_eq!((claimed.position, &*claimed.found), (at(5), &*vec![Found::Claim; some.len()]));
        claims = Some(claimed);
    }
    let claims = claims.expect("claims");
    let large: Fields = vec![("name".into(), "x".repeat(ENTRY_BYTES_MAX))];
    let small: Fields = (0..100).map(|n| (format!("f{n}").into(), n.to_string())).collect();
    let fill = |n: usize| Fill {
        low: at(5 + n as u64 / 50),
        timeline: if n == 3 { "00000002" } else { TIMELINE },
        fields: Some(if n == 7 { &large } else { &small }),
        ..of(&claims)
    };
    let fills: Vec<Fill<'_>> = (0..keys.len()).map(fill).collect();
    let pairs: Vec<_> = keys.iter().zip(&fills).collect();
    let filled = bench.tier.settle_many(&bench.place, &pairs).await.expect("answers");
    let expected = |n| if n == 3 || n == 7 { Filled::Refused } else { Filled::Ok };
    assert_eq!(filled, (0..keys.len()).map(expected).collect::<Vec<_>>());
    for some in keys.chunks(ENTRIES_MAX) {
        let found = bench.tier.claim(&bench.place, some, &nonce()).await.expect("claims").found;
        let missing: Vec<&Key> =
            some.iter().zip(found).filter(|(_, found)| *found != Found::Hit).map(|(key, _)| key).collect();
        assert!(missing.iter().all(|key| [bench.key("3"), bench.key("7")].contains(key)), "{missing:?}");
    }
}
