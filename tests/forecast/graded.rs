//! How good the hot set was is told: by what was sold after it had been fixed.

use lockstep_schemas::topics;
use serde_json::Value;

use crate::feeds::{Feed, hot, now};
use crate::harness::until;
use crate::shop::{Shop, WAIT_MAX, sold_in};
use crate::warms::{free_address, get, sample};

const HISTORY_HOURS: i64 = 30;

#[test]
fn the_set_is_graded_by_what_was_sold_after_it_was_fixed() {
    let shop = Shop::with_tiers();
    shop.sell(0..HISTORY_HOURS);
    let metrics = free_address();
    let warmer = shop.role_with("warmer", &[("LOCKSTEP_METRICS_LISTEN", &metrics)]);
    warmer.line("the past", WAIT_MAX, |line| line.contains("knows the shop's hours").then_some(()));
    assert_eq!(graded(&shop, |warmer| warmer["state"] == "unknown")["coverage"], Value::Null);

    // Half of what the next hours sell, by its first product.
    let (feed, few) = (Feed::of(&shop), [sold_in(HISTORY_HOURS + 1)[0].clone()]);
    feed.scores(&[(&few[0], 1.0)], now());
    assert_eq!(hot(&shop, 1), few);
    // The last hour is not over.
    shop.sell(HISTORY_HOURS..HISTORY_HOURS + 3);
    let of_hour = |hour: i64| {
        let sold = sold_in(hour);
        sold.iter().filter(|product| few.contains(product)).count() as f64 / sold.len() as f64
    };
    let low =
        graded(&shop, |warmer| warmer["hour"] == (crate::shop::FIRST_HOUR + HISTORY_HOURS + 1) * 3_600_000_000_i64);
    let expected = of_hour(HISTORY_HOURS + 1);
    assert!(expected > 0.0 && expected < 0.8, "{expected}");
    assert!((low["coverage"].as_f64().expect("a share") - expected).abs() < 1e-9, "{low}");
    assert_eq!(
        (&low["state"], &low["asked"], &low["by"], &low["precision"]),
        (&"low".into(), &20.into(), &"lines".into(), &1.0.into())
    );
    let day = (of_hour(HISTORY_HOURS) + expected) / 2.0;
    assert!((low["coverage_of_day"].as_f64().expect("a share") - day).abs() < 1e-9, "{low}");
    assert!(low["lru_hit_ratio"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{low}");
    let text = get(&metrics, "/metrics", "").expect("metrics");
    assert_eq!(sample(&text, "lockstep_warmer_coverage_low"), Some(1.0), "{text}");
    assert!(
        text.lines().filter(|line| !line.starts_with('#')).all(|line| !line.contains("P1")),
        "no key is a label: {text}"
    );
    warmer.line("the alert", WAIT_MAX, |line| line.contains("covers less than 80 %").then_some(()));

    // With all of it in the set the alert is over.
    let all: Vec<String> = (0..60).map(|number| format!("P{number}")).collect();
    let scores: Vec<(&str, f64)> = all.iter().map(|product| (product.as_str(), 1.0)).collect();
    feed.scores(&scores, now());
    until("a set of all", WAIT_MAX, || {
        let newest = shop.values(topics::HOT).pop()?;
        newest.as_array().filter(|members| members.len() == scores.len()).map(drop)
    });
    shop.sell(HISTORY_HOURS + 3..HISTORY_HOURS + 6);
    let good =
        graded(&shop, |warmer| warmer["hour"] == (crate::shop::FIRST_HOUR + HISTORY_HOURS + 4) * 3_600_000_000_i64);
    assert_eq!((&good["state"], &good["coverage"]), (&"good".into(), &1.0.into()), "{good}");
    assert!(shop.ask(&["status"]).contains("warmer: good, 60 members"));
    warmer.line("the alert's end", WAIT_MAX, |line| line.contains("80 % of what is asked for again").then_some(()));
}

fn graded(shop: &Shop, wanted: impl Fn(&Value) -> bool) -> Value {
    until("a grade", WAIT_MAX, || {
        let status: Value = serde_json::from_str(&shop.ask(&["status", "-o", "json"])).ok()?;
        Some(status["warmer"].clone()).filter(&wanted)
    })
}
