//! Replays: what a range of the log has changed is dropped once more.

use std::time::Duration;

use crate::harness::process::send;
use crate::harness::until;
use crate::site::{LIMIT, Site, WRONG};

const CALLED_WRONGLY: i32 = 64;
const NOT_YET: i32 = 75;
const SPOILT: [&str; 5] = ["P10", "P11", "P12", "P13", "P14"];

pub fn a_range_of_the_log_is_dropped_again(site: &mut Site) {
    let began =
        site.shop.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    for (n, product) in SPOILT.iter().enumerate() {
        site.applied(&format!("UPDATE prices SET price_pence = {} WHERE product_id = '{product}'", 900 + n));
        site.spoil(product);
    }
    site.spoil("P20");
    let counted = site.ask_json(&format!("replay --from {began} --view product_all --dry-run"));
    assert_eq!((&counted["views"]["product_all"], &counted["sent"]), (&SPOILT.len().into(), &0.into()), "{counted}");
    assert_eq!(site.price("P10"), Some(WRONG), "a dry run does nothing");

    let told = site.ask_json(&format!("replay --from {began} --tier l2 --key product:all:P10"));
    assert_eq!((&told["views"]["product_all"], &told["sent"]), (&1.into(), &1.into()), "{told}");
    assert_eq!((site.price("P10"), site.price("P11")), (Some(900), Some(WRONG)), "one key, and no other");

    let told = site.ask_json(&format!("replay --from {began}"));
    for (n, product) in SPOILT.iter().enumerate() {
        assert_eq!(site.price(product), Some(900 + n as i64), "{product}: {told}");
    }
    assert_eq!(site.price("P20"), Some(WRONG), "nothing of the range concerns it");
    a_killed_replay_goes_on(site);
    assert!(!site.roles.text().contains("partitions given back"), "no group that works was touched");
    refusals(site);
}

fn a_killed_replay_goes_on(site: &Site) {
    let folder = tempfile::tempdir().expect("a folder");
    let notes = folder.path().join("notes");
    let path = notes.to_str().expect("a path");
    // One entity a second: it is not through when it is stopped, nor when it is killed.
    let whole = ["replay", "--group", "catalogue", "--notes", path, "--rate"];
    let begin = || {
        let begun = site.shop.lockstep.start(&[&whole[..], &["1"]].concat());
        until("its notes", LIMIT, || notes.exists().then_some(()));
        begun
    };
    let stopped = begin();
    send(stopped.pid(), libc::SIGINT);
    let ended = stopped.wait(LIMIT);
    assert!(ended.code == Some(NOT_YET) && ended.stderr.contains("goes on"), "{ended}");
    let killed = begin();
    send(killed.pid(), libc::SIGKILL);
    drop(killed);
    assert!(notes.exists(), "what it has left to do stands there");
    let other = site.shop.lockstep.run(&["replay", "--group", "customers", "--notes", path]);
    assert!(other.code == Some(CALLED_WRONGLY) && other.stderr.contains("are of another replay"), "{other}");
    site.shop.lockstep.ask(&[&whole[..], &["10000"]].concat());
    assert!(!notes.exists(), "nothing is left");
    assert_eq!(site.price("P20"), Some(120), "the whole log was dropped");
}

fn refusals(site: &Site) {
    for (arguments, words) in [
        (&["replay", "--from", "5"][..], ["an offset is of one partition", "--partition"]),
        (&["replay", "--from", "yesterday"], ["is no place in the log", "2026-03-01T12:00:00Z"]),
        (&["replay", "--view", "product_al"], ["no view `product_al`", "did you mean `product_all`?"]),
        (&["replay", "--view", "cart", "--group", "catalogue"], ["no view is of all", "fewer"]),
    ] {
        let ended = site.shop.lockstep.start(arguments).wait(Duration::from_secs(30));
        assert_eq!(ended.code, Some(CALLED_WRONGLY), "{ended}");
        assert!(words.iter().all(|word| ended.stderr.contains(word)), "{ended}");
    }
}
