//! The stop button: readers pass a view by, lanes wait, and `status` says why.

use serde_json::Value;

use crate::harness::{kafka, until};
use crate::purges;
use crate::shop::Page;
use crate::site::{LIMIT, Site, WRONG, connect, path};

pub fn readers_pass_a_view_by(site: &Site) {
    let by = || {
        let page = Page::get(&site.shop.endpoints().gateway, &path("P30")).expect("an answer");
        let header = |name| page.header(name).map(str::to_owned);
        (header("lockstep-tier"), header("lockstep-behind"), page.number("price_pence"))
    };
    until("an entry in L2", LIMIT, || (by().0.as_deref() == Some("l2")).then_some(()));
    let told = site.ask("bypass product_all on --reason looks-wrong --for 10m");
    assert!(told.starts_with("bypass of product_all until "), "{told}");
    let passed = until("the database to answer", LIMIT, || Some(by()).filter(|by| by.0.as_deref() == Some("database")));
    assert_eq!((passed.1.as_deref(), passed.2), (Some("bypass"), Some(130)));
    let status = site.ask_json("status");
    let switch = &status["switches"][0];
    assert_eq!((&switch["view"], &switch["reason"]), (&"product_all".into(), &"looks-wrong".into()), "{status}");
    assert!(switch["by"].as_str().is_some_and(|by| by.contains('@')), "{switch}");
    site.ask("bypass product_all off --reason is-right");
    until("L2 to answer again", LIMIT, || (by().0.as_deref() == Some("l2")).then_some(()));
    assert_eq!(site.ask_json("status")["switches"], Value::Array(Vec::new()));
    // One that runs out needs nobody.
    site.ask("bypass product_all on --reason short --for 1s");
    until("L2 to answer again", LIMIT, || (by().0.as_deref() == Some("l2")).then_some(()));
    for (command, words) in [
        ("bypass product_page on --reason x", "lies at the edge"),
        ("bypass product_al on --reason x", "did you mean `product_all`?"),
        ("bypass product_all on", "--reason"),
    ] {
        let ended = site.shop.lockstep.run(&command.split(' ').collect::<Vec<_>>());
        assert!(ended.code != Some(0) && ended.stderr.contains(words), "{ended}");
    }
}

/// L2 has applied what the database never had, as after a restore from a backup: readers pass it by, `status` says so, and
/// once it is flushed all is as before.
pub fn a_tier_from_the_future(site: &mut Site) {
    site.announce_hot();
    let by = || {
        let page = Page::get(&site.shop.endpoints().gateway, &path("P32")).expect("an answer");
        (page.header("lockstep-tier").map(str::to_owned), page.number("price_pence"))
    };
    until("an entry in L2", LIMIT, || (by().0.as_deref() == Some("l2")).then_some(()));
    let mut l2 = connect(&site.shop.endpoints().l2);
    let watermarks: Vec<String> = redis::cmd("KEYS").arg("*:_w").query(&mut l2).expect("watermarks");
    for watermark in &watermarks {
        redis::cmd("HSET")
            .arg(watermark)
            .arg("pos")
            .arg("0009-0000000000000001-00000000")
            .exec(&mut l2)
            .expect("a write");
    }
    let passed = until("the database to answer", LIMIT, || Some(by()).filter(|by| by.0.as_deref() == Some("database")));
    assert_eq!(passed.1, Some(132));
    let is_future = || {
        let status = site.ask_json("status");
        let lanes = status["tiers"]["l2"].as_array()?;
        lanes.iter().all(|lane| lane["state"] == "future").then_some(())
    };
    until("every lane of L2 to be of the future", LIMIT, is_future);
    let text = site.ask("status");
    assert!(text.contains("restored"), "it names the remedy: {text}");
    // What is there is not copied further, and nothing is filled: neither would die with the flush.
    let entries = ["product:all:P33", "product:all:P2"];
    redis::cmd("UNLINK").arg(&entries).exec(&mut l2).expect("an eviction");
    let hot = "*product:hot:P2";
    let in_l1 = || -> Vec<String> {
        let names = |url: &String| redis::cmd("KEYS").arg(hot).query::<Vec<String>>(&mut connect(url)).expect("names");
        site.shop.endpoints().l1.iter().flat_map(names).collect()
    };
    for url in &site.shop.endpoints().l1 {
        for name in in_l1() {
            // A replica, or a node that does not have the slot, says no.
            let _ = redis::cmd("UNLINK").arg(name).exec(&mut connect(url));
        }
    }
    for product in ["P32", "P33", "P2", "P32", "P33", "P2"] {
        let page = Page::get(&site.shop.endpoints().gateway, &path(product)).expect("an answer");
        assert_eq!(page.header("lockstep-tier"), Some("database"), "{product}");
    }
    let filled: i64 = redis::cmd("EXISTS").arg(&entries).query(&mut l2).expect("a count");
    assert_eq!((filled, in_l1()), (0, Vec::new()));
    redis::cmd("FLUSHALL").exec(&mut l2).expect("a flush");
    site.settled();
    until("L2 to answer again", LIMIT, || (by().0.as_deref() == Some("l2")).then_some(()));
    // Nothing is hot any more, for whatever comes next.
    kafka::produce(&site.shop.endpoints().kafka, "lockstep.hot", "product_hot", &[b"[]".to_vec()]);
}

pub fn a_paused_lane_waits(site: &mut Site) {
    site.spoil("P31");
    site.ask("pause product_all --reason a-test --for 10m");
    let heard = |on: bool| {
        move |line: &str| {
            let is_it = line.contains("an operator's switch") && line.contains("pause of catalogue");
            (is_it && line.contains(if on { "on=true" } else { "on=false" })).then_some(())
        }
    };
    site.roles.line("the pause to be heard", LIMIT, heard(true));
    site.shop.sql("UPDATE prices SET price_pence = 931 WHERE product_id = 'P31'");
    let waits = || {
        let status = site.ask_json("status");
        let lanes = status["tiers"]["l2"].as_array()?;
        let all_paused = lanes.iter().all(|lane| lane["state"] == "paused");
        (all_paused && lanes.iter().any(|lane| lane["records_behind"].as_i64() > Some(0))).then_some(())
    };
    until("a paused lane with something to do", LIMIT, waits);
    purges::is_not_proven(site, "product:all:P31");
    assert_eq!(site.price("P31"), Some(WRONG), "nothing was applied");
    let text = site.ask("status");
    assert!(text.contains("pause of catalogue until ") && text.contains(": a-test"), "{text}");
    site.ask("resume product_all --reason enough");
    site.settled();
    assert_eq!(site.price("P31"), Some(931), "what waited was applied");
}
