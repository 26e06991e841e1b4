//! What is parked: told, retried exactly once however often an operator is cut off, and dropped.

use std::collections::BTreeMap;

use lockstep_schemas::parked::Parked;
use serde_json::Value;

use crate::harness::kafka::{produce, values};
use crate::harness::process::send;
use crate::harness::until;
use crate::site::{LIMIT, Site, first_price};

/// More than one transaction of a retry takes.
const WORDS: usize = 250;
/// Records whose schema is gone: were each waited for, a test would not see the end of it.
const SCHEMALESS: usize = 10;
const KIND: &str = "of-this-test";

pub fn what_is_parked_is_retried_once(site: &mut Site) {
    a_row_too_large(site);
    a_record_that_cannot_be_read(site);
    an_operator_who_is_killed(site);
}

fn open(site: &Site, kind: &str) -> Vec<Value> {
    let told = site.ask(&format!("parked ls --kind {kind} -o json"));
    told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn a_row_too_large(site: &mut Site) {
    // Incompressible is not needed: the log has the value as it is.
    site.applied("UPDATE products SET description = repeat('x', 1000000) WHERE product_id = 'P3'");
    let parked = until("a word of it", LIMIT, || open(site, "row-too-large").pop());
    assert_eq!((&parked["entity"], &parked["table"]), (&"P3".into(), &"public.products".into()), "{parked}");
    site.applied("UPDATE products SET description = 'smaller' WHERE product_id = 'P3'");
    site.spoil("P3");
    let dry = site.ask("parked retry --kind row-too-large --reason smaller --dry-run");
    assert!(dry.contains("1 would be retried, 0 left"), "{dry}");
    assert_ne!(site.price("P3"), first_price(3), "a dry run does nothing");
    let id = &parked["id"];
    let done = site.ask(&format!("parked retry --id {id} --reason smaller"));
    assert!(done.contains("1 retried, 0 left"), "{done}");
    site.settled();
    assert_eq!(site.price("P3"), first_price(3), "its entry was dropped");
    assert!(open(site, "row-too-large").is_empty());
    assert!(site.ask("parked retry --all --reason again").contains("0 retried, 0 left"));
    let shown = site.ask(&format!("parked show {id}"));
    assert!(shown.contains("retried at ") && shown.contains("smaller"), "{shown}");
}

fn a_record_that_cannot_be_read(site: &mut Site) {
    produce(&site.shop.endpoints().kafka, "lockstep.catalogue", "key", &[b"not a record".to_vec()]);
    until("a word of it", LIMIT, || open(site, "unreadable").pop());
    // Framed by a schema that nobody knows: only the first of them is waited for.
    let gone = [0, 0, 1, 0, 0, 7].to_vec();
    produce(&site.shop.endpoints().kafka, "lockstep.catalogue", "key", &vec![gone; SCHEMALESS]);
    until("a word of each", LIMIT, || (open(site, "unreadable").len() == SCHEMALESS + 1).then_some(()));
    // The lane goes on, and what it dropped in the record's stead is filled anew.
    site.applied("UPDATE prices SET price_pence = 777 WHERE product_id IN ('P4', 'P5', 'P6', 'P7', 'P8')");
    assert_eq!(site.price("P4"), Some(777));
    let id = open(site, "unreadable")[0]["id"].to_string();
    let left = site.ask(&format!("parked retry --kind unreadable --id {id} --reason why-not"));
    assert!(left.contains("still can't be read") && left.contains("0 retried, 1 left"), "{left}");
    assert_eq!(open(site, "unreadable").len(), SCHEMALESS + 1);
    let dropped = site.ask("parked drop --kind unreadable --reason a-test-wrote-it");
    assert!(dropped.contains(&format!("{} dropped, 0 left", SCHEMALESS + 1)), "{dropped}");
    until("the word of that", LIMIT, || open(site, "unreadable").is_empty().then_some(()));
}

/// Killed between its transactions: none of the things is lost, and none is retried twice.
fn an_operator_who_is_killed(site: &mut Site) {
    let word = |n: usize| {
        let entity = format!("K{n}");
        let subject = Some(("catalogue", entity.as_str()));
        Parked { by: "ingest", reason: KIND, table: "public.products", subject, ..Parked::default() }.to_json()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(word).collect();
    produce(&site.shop.endpoints().kafka, "lockstep.parked", "key", &words);
    assert_eq!(open(site, KIND).len(), WORDS);
    // Slow enough that it is not through when it is killed.
    let retry = ["parked", "retry", "--kind", KIND, "--reason", "killed", "--rate", "20"];
    let operator = site.shop.lockstep.start(&retry);
    let left = until("some of them to be retried", LIMIT, || Some(open(site, KIND).len()).filter(|left| *left < WORDS));
    send(operator.pid(), libc::SIGKILL);
    assert!(left > 0, "it was not through");
    drop(operator);
    let told = site.ask(&format!("parked retry --kind {KIND} --reason again --rate 10000"));
    assert!(told.contains(" retried, 0 left"), "{told}");
    site.settled();
    assert!(open(site, KIND).is_empty());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for value in values(&site.shop.endpoints().kafka, "lockstep.catalogue") {
        let Ok(told) = serde_json::from_slice::<Value>(&value) else { continue };
        if let Some(entity) = told["entity"].as_str().filter(|entity| entity.starts_with('K')) {
            *times.entry(entity.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(times.len(), WORDS, "none is lost");
    assert!(times.values().all(|times| *times == 1), "none is retried twice: {times:?}");
}
