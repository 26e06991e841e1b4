//! A read through the tiers: L2 may be one node or a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lockstep_schemas::entry::{Load, Loaded, Loading};
use lockstep_schemas::policy::{DEFAULT, Policy, TierName, View};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Action, AnsweredBy, Applied, Layout, Tier, Tiers};

use crate::bench::{Bench, TIMELINE, at, servers};

/// A database whose every row has its column's name in each column.
#[derive(Default)]
struct Rows {
    asked: AtomicUsize,
}

impl Load for Rows {
    fn load<'a>(&'a self, view: &'a View, entities: &'a [String]) -> Loading<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let loaded = |entity: &String| Loaded {
            entity: entity.clone(),
            fields: Some(view.fields().map(|column| (column.clone(), column.to_string())).collect()),
            high: at(6),
            timeline: TIMELINE.to_owned(),
        };
        Box::pin(async move { Ok(entities.iter().map(loaded).collect()) })
    }
}

pub async fn l1_is_filled_through_l2_of_either_kind(bench: &Bench) {
    if bench.tier.name == TierName::L1 {
        return;
    }
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let (hot, all) = (policy.views["product_hot"].clone(), policy.views["product_all"].clone());
    let layout = Arc::new(Layout::new(&policy, &format!("through.{}.", bench.is_cluster()), 1));
    let l1 = Tier::connect(TierName::L1, &servers(&bench.endpoints, true, ""), layout).await.expect("a tier");
    let rows = Arc::new(Rows::default());
    let tiers = Tiers { l1, l2: bench.tier.clone(), loader: rows.clone(), switched: None, history: None };
    let check = async |expected: AnsweredBy, asked: usize| {
        let answer = tiers.get_through(&hot, &all, "7").await.expect("an answer");
        assert_eq!((answer.by, rows.asked.load(Ordering::SeqCst)), (expected, asked));
        let fields = answer.fields.expect("a row");
        assert!(hot.fields().all(|column| fields.contains(&(column.clone(), column.to_string()))), "{fields:?}");
    };
    check(AnsweredBy::Database, 1).await;
    check(AnsweredBy::Tier(TierName::L1), 1).await;
    // Gone from L1, it comes from L2; gone from both, from the database.
    let invalidate = async |tier: &Tier, view: &View, expect: Position, new: Position| {
        let actions = [(view.key.key("7"), Action::Invalidate)];
        let batch = lockstep_tiers::Apply { nonce: "", ..bench.batch(expect, new, &actions) };
        let applied = tier.apply(&bench.place, &batch).await.expect("an answer");
        assert!(matches!(applied, Applied::Ok { dropped: 1, .. }), "{applied:?}");
    };
    invalidate(&tiers.l2, &all, Position::LEAST, at(7)).await;
    bench.remove(&bench.marker_name("7")).await;
    check(AnsweredBy::Tier(TierName::L1), 1).await;
    invalidate(&tiers.l1, &hot, Position::LEAST, at(7)).await;
    check(AnsweredBy::Database, 2).await;
    assert!(!bench.entry("7").await.is_empty(), "l2 was filled again");
    check(AnsweredBy::Tier(TierName::L2), 2).await;
}

/// However often changes have refreshed it since.
pub async fn what_was_filled_too_long_ago_is_filled_anew(bench: &Bench) {
    let text = DEFAULT.replacen("ttl = \"2h\"", "ttl = \"2h\"\nage_max = \"6h\"", 1);
    let all = Policy::parse(&text).expect("a policy").views["product_all"].clone();
    let rows = Arc::new(Rows::default());
    let tier = bench.tier.clone();
    let tiers = Tiers { l1: tier.clone(), l2: tier.clone(), loader: rows.clone(), switched: None, history: None };
    // The view is L2's; the rule is the same on either layout.
    let all = View { tier: tier.name, ..View::clone(&all) };
    let check = async |expected: AnsweredBy, asked: usize| {
        let answer = tiers.get(&all, "7").await.expect("an answer");
        assert_eq!((answer.by, rows.asked.load(Ordering::SeqCst)), (expected, asked));
    };
    check(AnsweredBy::Database, 1).await;
    check(AnsweredBy::Tier(tier.name), 1).await;
    let name = bench.entry_name("7");
    for (hours, by, asked) in [(5, AnsweredBy::Tier(tier.name), 1), (7, AnsweredBy::Database, 2)] {
        let born = lockstep_process::clock::now_micros() - hours * 3_600_000_000;
        bench.plant(&name, &[("_born", &born.to_string())]).await;
        check(by, asked).await;
    }
}
