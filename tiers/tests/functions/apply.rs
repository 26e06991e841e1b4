//! apply: compared first, then each action, then the watermark.

use lockstep_schemas::position::Position;
use lockstep_tiers::tier::{ACTIONS_MAX, ARGUMENTS_MAX, CALL_BYTES_MAX};
use lockstep_tiers::{Action, Applied, Apply, Outward, Read};

use crate::bench::{Bench, TIMELINE, TTL, at, refresh, whole};

/// Applies one action to entry 7, from 5 to 20, and gives what it reports: refreshed, dropped, mine.
async fn one(bench: &Bench, action: Action) -> (u64, u64, Vec<usize>) {
    bench.plant_watermark(at(5)).await;
    let actions = [(bench.key("7"), action)];
    match bench.tier.apply(&bench.place, &bench.batch(at(5), at(20), &actions)).await {
        Ok(Applied::Ok { refreshed, dropped, mine }) => (refreshed, dropped, mine),
        other => panic!("{other:?}"),
    }
}

/// The entry is gone, and the engine has its lease.
async fn check_taken_over(bench: &Bench) {
    assert!(bench.entry("7").await.is_empty());
    let marker = bench.marker("7").await;
    assert_eq!((marker["nonce"].as_str(), &marker["pos"]), ("engine", &at(20).to_string()));
    let life = bench.life_ms(&bench.marker_name("7")).await;
    assert!(life > 0, "a lease without an end");
}

/// [6d], [7a]: the fence.
pub async fn a_lost_call_writes_nothing(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let kept = [("offset", "41"), ("l3_owner", "us"), ("l3", "x"), ("l3_begun", "y")];
    bench.plant(&bench.watermark_name(), &kept).await;
    bench.plant_entry("7", at(3), at(3)).await;
    bench.plant_entry("8", at(3), at(3)).await;
    bench.plant_marker("9", "one", at(5)).await;
    let before = (bench.watermark().await, bench.entry("7").await, bench.entry("8").await, bench.marker("9").await);
    let actions = [
        (bench.key("7"), refresh(at(6), &[("stock", Some("1"))])),
        (bench.key("8"), Action::Invalidate),
        (bench.key("9"), Action::Invalidate),
    ];
    let outward = Some(Outward { owner: "us", begun: Some(at(6)), done: Some((at(6), 1)) });
    for expect in [at(4), at(6), Position::LEAST] {
        let batch = Apply { floor: Some(at(6)), outward: outward.clone(), ..bench.batch(expect, at(9), &actions) };
        let applied = bench.tier.apply(&bench.place, &batch).await.expect("an answer");
        assert_eq!(applied, Applied::Lost { position: at(5), offset: Some(41) });
    }
    let after = (bench.watermark().await, bench.entry("7").await, bench.entry("8").await, bench.marker("9").await);
    assert_eq!(after, before);
}

pub async fn what_is_contained_is_kept(bench: &Bench) {
    for low in [at(8), at(9)] {
        bench.plant_entry("7", low, at(12)).await;
        let before = bench.entry("7").await;
        assert_eq!(one(bench, refresh(at(8), &[("stock", Some("1"))])).await, (0, 0, vec![]));
        assert_eq!(bench.entry("7").await, before);
    }
}

pub async fn a_newer_change_refreshes(bench: &Bench) {
    bench.plant_entry("7", at(3), at(7)).await;
    bench.plant(&bench.entry_name("7"), &[("name", "bowl")]).await;
    let change = refresh(at(8), &[("stock", Some("1")), ("category", None), ("description", Some("new"))]);
    assert_eq!(one(bench, change).await, (1, 0, vec![]));
    let mut entry = bench.entry("7").await;
    assert_eq!((entry.remove("_low"), entry.remove("_high")), (Some(at(8).to_string()), Some(at(8).to_string())));
    let fields: Vec<(&str, &str)> = entry.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    assert_eq!(fields, [("description", "new"), ("name", "bowl"), ("stock", "1")], "known ones; a null is no field");
    let short = i64::try_from(TTL.as_millis()).expect("a life");
    assert!(bench.life_ms(&bench.entry_name("7")).await > short, "its life begins anew");
}

/// What is all that the entry can have takes the place of what is there: also of what nobody knows of.
pub async fn a_whole_one_replaces(bench: &Bench) {
    bench.plant_entry("7", at(3), at(7)).await;
    bench.plant(&bench.entry_name("7"), &[("of another version", "bowl"), ("_born", "1")]).await;
    assert_eq!(one(bench, whole(at(8), &[("stock", Some("1")), ("category", None)])).await, (1, 0, vec![]));
    let bound = at(8).to_string();
    let expected = [("stock", "1"), ("_low", &*bound), ("_high", &*bound), ("_born", "42")];
    assert_eq!(bench.entry("7").await, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    let short = i64::try_from(TTL.as_millis()).expect("a life");
    assert!(bench.life_ms(&bench.entry_name("7")).await > short, "its life begins anew");
    bench.plant_watermark(at(5)).await;
    let actions = [
        (bench.key("7"), whole(at(9), &[("stock", Some("2")), ("category", None)])),
        (bench.key("8"), Action::Invalidate),
    ];
    let actions = [&actions[..], &[(bench.key("9"), refresh(at(9), &[("stock", Some("3"))]))]].concat();
    bench.plant_entry("8", at(3), at(3)).await;
    bench.plant_entry("9", at(3), at(3)).await;
    let applied = bench.tier.apply(&bench.place, &bench.batch(at(5), at(20), &actions)).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: 2, dropped: 1, mine: vec![1] }, "whole ones among others");
    assert_eq!((&*bench.entry("7").await["stock"], &*bench.entry("9").await["stock"]), ("2", "3"));
}

/// By the same rules as any other refresh.
pub async fn a_whole_one_is_judged_like_others(bench: &Bench) {
    let fields = [("stock", Some("1"))];
    assert_eq!(one(bench, whole(at(8), &fields)).await, (0, 0, vec![]), "absent stays absent");
    bench.plant_entry("7", at(8), at(12)).await;
    let before = bench.entry("7").await;
    assert_eq!(one(bench, whole(at(8), &fields)).await, (0, 0, vec![]), "it is in there");
    assert_eq!(bench.entry("7").await, before);
    assert_eq!(one(bench, whole(at(12), &fields)).await, (0, 1, vec![0]), "nobody can tell");
    check_taken_over(bench).await;
    bench.remove(&bench.marker_name("7")).await;
    let absence = [("_neg", "1"), ("_low", &*at(3).to_string()), ("_high", &at(3).to_string())];
    bench.plant(&bench.entry_name("7"), &absence).await;
    assert_eq!(one(bench, whole(at(8), &fields)).await, (0, 1, vec![0]), "an absence never becomes a row");
    check_taken_over(bench).await;
}

/// Whatever its texts are: what the server has is what we sent, laid out as it would be by the server itself.
pub async fn wholes_are_the_servers_own(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let long = |length: usize| "x".repeat(length);
    let texts: Vec<String> = [0, 1, 63, 64, 65, 4_095, 4_096, 16_383, 16_384, 70_000].map(long).to_vec();
    let numbers =
        [0, 1, -1, 127, 128, 4_095, 4_096, -4_096, -4_097, 32_767, 32_768, -32_769, 8_388_607, 8_388_608, -8_388_609];
    let large = [i64::from(i32::MAX), i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX, i64::MIN];
    let odd = ["007", "-0", "+1", " 1", "1 ", "1.5", "9223372036854775808", "-", "ä", "\r\n", "\0"].map(str::to_owned);
    let numbers = numbers.map(i64::from).into_iter().chain(large).map(|number| number.to_string());
    let texts: Vec<String> = texts.into_iter().chain(numbers).chain(odd).collect();
    let many = |count: usize| (0..count).map(|n| (format!("f{n}"), n.to_string())).collect::<Vec<_>>();
    let small: Vec<(String, String)> = texts
        .iter()
        .filter(|text| text.len() <= 64)
        .enumerate()
        .map(|(n, text)| (format!("f{n}"), text.clone()))
        .collect();
    let each = texts.iter().map(|text| vec![("name".to_owned(), text.clone())]);
    for fields in each.chain([many(250), many(508), many(509), many(510), small]) {
        bench.evict("7").await;
        bench.plant_entry("7", at(3), at(3)).await;
        let cells: Vec<(&str, Option<&str>)> = fields.iter().map(|(name, text)| (&**name, Some(&**text))).collect();
        assert_eq!(one(bench, whole(at(8), &cells)).await, (1, 0, vec![]));
        let mut found = bench.entry("7").await;
        let bound = at(8).to_string();
        let own = [("_low", &*bound), ("_high", &bound), ("_born", "42")];
        own.iter().for_each(|(name, text)| assert_eq!(found.remove(*name).as_deref(), Some(*text)));
        assert_eq!(found, fields.iter().cloned().collect());
        let is_small = fields.len() + own.len() <= 512 && fields.iter().all(|(_, text)| text.len() <= 64);
        assert_eq!(bench.encoding("7").await, if is_small { "listpack" } else { "hashtable" });
    }
}

/// [1b], [2e]: between low and high nobody can tell.
pub async fn in_between_drops(bench: &Bench) {
    for p in [at(4), at(7)] {
        bench.plant_entry("7", at(3), at(7)).await;
        assert_eq!(one(bench, refresh(p, &[("stock", Some("1"))])).await, (0, 1, vec![0]));
        check_taken_over(bench).await;
    }
}

/// [1a], [1c].
pub async fn absent_stays_absent(bench: &Bench) {
    assert_eq!(one(bench, refresh(at(8), &[("stock", Some("1"))])).await, (0, 0, vec![]));
    assert!(bench.entry("7").await.is_empty() && bench.marker("7").await.is_empty());
}

/// [11a].
pub async fn an_absence_never_becomes_a_row(bench: &Bench) {
    let fields = [("_neg", "1"), ("_low", &*at(3).to_string()), ("_high", &at(3).to_string())];
    bench.plant(&bench.entry_name("7"), &fields).await;
    assert_eq!(one(bench, refresh(at(8), &[("stock", Some("1"))])).await, (0, 1, vec![0]));
    check_taken_over(bench).await;
}

/// [1d], [14h], [e1]: a filler's lease is void, and the engine holds one, so that a hot key does not starve.
pub async fn a_lease_is_voided_and_taken_over(bench: &Bench) {
    for action in [refresh(at(8), &[("stock", Some("1"))]), Action::Invalidate] {
        bench.plant_marker("7", "one", at(5)).await;
        assert_eq!(one(bench, action).await, (0, 0, vec![0]));
        check_taken_over(bench).await;
        let (low, greatest) = (at(20).to_string(), Position::GREATEST.to_string());
        let fields = [("stock", "1"), ("_low", &*low), ("_high", &*low)];
        for (nonce, expected) in [("one", "void"), ("engine", "ok")] {
            let answer = bench.call_fill("fill", &[&greatest, TIMELINE, "60000", nonce, &low], &[("7", &fields)]).await;
            assert_eq!(answer, [expected]);
        }
        bench.evict("7").await;
    }
}

pub async fn an_invalidation_drops(bench: &Bench) {
    assert_eq!(one(bench, Action::Invalidate).await, (0, 0, vec![]), "nobody wants it");
    assert!(bench.marker("7").await.is_empty());
    bench.plant_entry("7", at(30), at(30)).await;
    assert_eq!(one(bench, Action::Invalidate).await, (0, 1, vec![0]), "whatever it holds");
    check_taken_over(bench).await;
}

pub async fn the_floor_kills(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_entry("7", at(5), at(5)).await;
    bench.plant_entry("8", at(5), at(5)).await;
    bench.plant_entry("9", at(10), at(10)).await;
    let actions = [(bench.key("7"), refresh(at(10), &[("stock", Some("1"))]))];
    let batch = Apply { floor: Some(at(10)), ..bench.batch(at(5), at(10), &actions) };
    let applied = bench.tier.apply(&bench.place, &batch).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: 0, dropped: 0, mine: vec![] }, "what is dead counts as absent");
    assert!(bench.entry("7").await.is_empty());
    assert_eq!(bench.watermark().await["floor"], at(10).to_string());
    for (entity, expected) in [("8", "lease"), ("9", "hit")] {
        assert_eq!(bench.call("read", entity, &["one", "3000", "0"]).await[0], expected);
    }
    assert!(bench.entry("8").await.is_empty(), "a reader removes what is dead");
    // A later call without a floor keeps it.
    let applied = bench.tier.apply(&bench.place, &bench.batch(at(10), at(12), &[])).await;
    assert!(matches!(applied, Ok(Applied::Ok { .. })));
    assert_eq!(bench.watermark().await["floor"], at(10).to_string());
}

pub async fn the_watermark_moves(bench: &Bench) {
    let batch = Apply { offset: 41, at: 99, ..bench.batch(Position::LEAST, at(5), &[]) };
    assert!(matches!(bench.tier.apply(&bench.place, &batch).await, Ok(Applied::Ok { .. })), "a node that has none");
    let mark = bench.tier.watermark(&bench.place).await.expect("an answer").expect("a watermark");
    assert_eq!((mark.position, mark.offset, mark.at, mark.floor), (at(5), 41, 99, Position::LEAST));
    assert_eq!((mark.l3, mark.l3_begun), (None, None));
    assert_eq!(bench.watermark().await["timeline"], TIMELINE);
    let batch = Apply { timeline: "", ..bench.batch(at(5), at(6), &[]) };
    assert!(matches!(bench.tier.apply(&bench.place, &batch).await, Ok(Applied::Ok { .. })));
    assert_eq!(bench.watermark().await["timeline"], TIMELINE, "an unknown timeline leaves it as it was");
    assert_eq!(bench.life_ms(&bench.watermark_name()).await, -1, "a watermark has no end");
}

pub async fn actions_are_counted(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    for (expect, new) in [(5, 6), (6, 7)] {
        bench.plant_entry("7", at(3), at(3)).await;
        bench.plant_entry("8", at(3), at(3)).await;
        bench.plant_entry("9", at(3), at(3)).await;
        let actions = [
            (bench.key("7"), refresh(at(new), &[("stock", Some("1"))])),
            (bench.key("8"), Action::Invalidate),
            (bench.key("9"), Action::Invalidate),
            (bench.key("absent"), Action::Invalidate),
        ];
        let applied = bench.tier.apply(&bench.place, &bench.batch(at(expect), at(new), &actions)).await;
        assert_eq!(applied.expect("an answer"), Applied::Ok { refreshed: 1, dropped: 2, mine: vec![1, 2] });
    }
    let mark = bench.tier.watermark(&bench.place).await.expect("an answer").expect("a watermark");
    assert_eq!((mark.refreshed, mark.dropped), (2, 4));
}

/// As many actions and arguments as the engine ever puts into one call.
pub async fn a_full_call_is_taken(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let width = ARGUMENTS_MAX / ACTIONS_MAX / 2 - 3;
    let fields: Vec<(String, Option<&str>)> = (0..width).map(|n| (format!("f{n}"), Some("1"))).collect();
    let fields: Vec<(&str, Option<&str>)> = fields.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let mut actions = Vec::new();
    for n in 0..ACTIONS_MAX {
        bench.plant_entry(&n.to_string(), at(3), at(3)).await;
        actions.push((bench.key(&n.to_string()), refresh(at(8), &fields)));
    }
    let applied = bench.tier.apply(&bench.place, &bench.batch(at(5), at(8), &actions)).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: ACTIONS_MAX as u64, dropped: 0, mine: vec![] });
    let entry = bench.entry(&(ACTIONS_MAX - 1).to_string()).await;
    assert_eq!(entry.len(), width + 4, "its own two fields, and two of ours");
}

/// What is too much for one call is refused before anything is written, whoever sends it.
pub async fn a_call_too_large_is_refused(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    bench.plant_entry("7", at(3), at(3)).await;
    let (expect, new) = (at(5).to_string(), at(6).to_string());
    let fixed = [&*expect, &new, "1", "", "", "0", "engine", "3000", "", "", "", "0"].map(str::to_owned);
    let position = at(6).to_string();
    let many = |count: usize| -> Vec<String> {
        let head = ["r".to_owned(), position.clone(), "1000".to_owned(), "0".to_owned(), count.to_string()];
        head.into_iter().chain((0..count).map(|n| format!("f{n}"))).collect()
    };
    let long = ["r", &position, "1000", "1", "0", "stock", &"x".repeat(330_000)].map(str::to_owned).to_vec();
    for (keys, action, expected) in [
        (63, many(1), None),
        (64, many(1), Some("keys")),
        (1, many(3_983), None),
        (1, many(3_984), Some("arguments")),
        (1, long, Some("bytes")),
    ] {
        bench.plant_watermark(at(5)).await;
        bench.plant_entry("7", at(3), at(3)).await;
        let before = (bench.entry("7").await, bench.watermark().await);
        let mut names = vec![bench.watermark_name(), bench.claims_name()];
        for n in 0..keys {
            let entity = if n == 0 { "7".to_owned() } else { format!("more{n}") };
            names.extend([bench.entry_name(&entity), bench.marker_name(&entity)]);
        }
        let mut command = redis::cmd("FCALL");
        command.arg("lockstep1_apply").arg(names.len()).arg(&names).arg(&fixed).arg(&action);
        command.arg(vec!["i"; keys - 1]);
        let answer = bench.try_send(&command).await;
        match expected {
            None => assert!(answer.is_ok(), "{answer:?}"),
            Some(what) => {
                let error = answer.expect_err("refused").to_string();
                assert!(error.contains("LIMIT") && error.contains(what), "{error}");
                assert_eq!((bench.entry("7").await, bench.watermark().await), before);
            }
        }
    }
}

/// What this library does not know, a later one may have to do: the watermark stays before it.
pub async fn an_unknown_action_is_an_error(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    let (expect, new) = (at(5).to_string(), at(6).to_string());
    let arguments = [&*expect, &new, "1", "", "", "0", "engine", "3000", "", "", "", "0", "x", &new, "1000", "?"];
    let mut command = redis::cmd("FCALL");
    let names = [bench.watermark_name(), bench.claims_name(), bench.entry_name("7"), bench.marker_name("7")];
    command.arg("lockstep1_apply").arg(names.len()).arg(&names).arg(&arguments);
    let error = bench.try_send(&command).await.expect_err("refused").to_string();
    assert!(error.contains("ACTION") && error.contains("x is not known"), "{error}");
    assert_eq!(bench.watermark().await["pos"], expect);
}

/// A change too much for one call, as of many large views: the largest entries are dropped, the others refreshed.
pub async fn a_change_too_large_for_a_call_invalidates(bench: &Bench) {
    bench.plant_watermark(at(5)).await;
    for entity in ["7", "8"] {
        bench.plant_entry(entity, at(3), at(3)).await;
    }
    let (large, less) = ("x".repeat(CALL_BYTES_MAX - 10), "y".repeat(CALL_BYTES_MAX / 4));
    let actions = [
        (bench.key("7"), refresh(at(8), &[("name", Some(&large))])),
        (bench.key("8"), refresh(at(8), &[("name", Some(&less))])),
    ];
    let applied = bench.tier.apply(&bench.place, &bench.batch(at(5), at(8), &actions)).await.expect("an answer");
    assert_eq!(applied, Applied::Ok { refreshed: 1, dropped: 1, mine: vec![0] });
    assert_eq!(bench.entry("8").await["name"], less);
}

/// A text under an entry's name is in the way of the entry: readers would get errors for ever.
pub async fn somebody_elses_value_makes_room(bench: &Bench) {
    bench.text(&bench.entry_name("7"), "theirs").await;
    let read = bench.tier.read(&bench.place, &bench.key("7"), None).await;
    assert!(matches!(read, Ok(Read::Lease(_))), "{read:?}");
    bench.text(&bench.entry_name("8"), "theirs").await;
    let actions = [(bench.key("8"), refresh(at(8), &[("stock", Some("1"))]))];
    let applied = bench.tier.apply(&bench.place, &bench.batch(Position::LEAST, at(8), &actions)).await;
    assert_eq!(applied.expect("an answer"), Applied::Ok { refreshed: 0, dropped: 0, mine: vec![] });
    assert!(bench.entry("8").await.is_empty());
}
