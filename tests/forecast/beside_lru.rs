//! `lockstep bench warmer`: small, so that it cannot rot; and whole, for what it must reach.

use std::time::Duration;

use serde_json::Value;

use crate::harness::Lockstep;

const SMALL_MAX: Duration = Duration::from_secs(180);
const WHOLE_MAX: Duration = Duration::from_secs(1_500);
/// Points of hit ratio above an LRU of the same size.
const POINTS_MIN: f64 = 8.0;

#[test]
fn the_bench_runs_small() {
    let figures = bench("--from 2011-04-28 --to 2011-04-29 --k 300", SMALL_MAX);
    assert!(figures["reads"].as_u64() > Some(500), "{figures}");
    assert!(figures["points"].is_number());
}

#[test]
#[ignore = "it plays two months of sales"]
fn warmed_each_hour_l1_hits_more_than_an_lru() {
    let figures = bench("", WHOLE_MAX);
    assert!(figures["points"].as_f64() >= Some(POINTS_MIN), "{figures}");
}

fn bench(rest: &str, limit: Duration) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = format!("bench warmer -o json {rest}");
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let ended = Lockstep::new(folder.path()).start(&arguments).wait(limit);
    assert_eq!(ended.code, Some(0), "{ended}");
    let figures: Value = serde_json::from_str(ended.stdout.lines().last().unwrap_or_default()).expect("an object");
    println!("{figures}");
    let k = figures["k"].as_u64().expect("a size");
    for arm in ["warmed", "lru"] {
        let entries = figures["entries"][arm].as_u64().expect("a count");
        assert!(entries > 0 && entries <= k, "neither has more room than the other: {figures}");
    }
    let (lru, shadow) = (&figures["hit_ratio"]["lru"], &figures["hit_ratio"]["shadow_lru"]);
    assert_eq!(lru, shadow, "the real L1 is an exact LRU");
    figures
}
