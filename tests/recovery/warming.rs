//! Warming under a budget, stopped, and gone on with.

use crate::harness::until;
use crate::site::{LIMIT, Site};

const NOT_YET: i32 = 75;
/// More than a chunk, so that there is something left when it is stopped.
const MORE: usize = 1_200;

pub fn a_stopped_one_goes_on(site: &mut Site) {
    let last = MORE - 1;
    site.applied(&format!(
        "INSERT INTO products (product_id, name) SELECT 'W' || n, 'bowl' FROM generate_series(0, {last}) AS n"
    ));
    // A chunk of 500 takes it more than eight minutes.
    let slow = site.shop.lockstep.start(&["warm", "product_all", "--rate", "1"]);
    until("some entries", LIMIT, || (entries(site) > 0).then_some(()));
    slow.terminate();
    let ended = slow.wait(LIMIT);
    assert_eq!(ended.code, Some(NOT_YET), "{ended}");
    assert!(ended.stderr.contains("was stopped after") && ended.stderr.contains("goes on"), "{ended}");
    let before = entries(site);
    assert!(before < MORE, "{before} of {MORE} were there when it was stopped");
    let told = site.ask("warm product_all");
    assert_eq!(entries(site), MORE, "{told}");
}

fn entries(site: &mut Site) -> usize {
    let keys: Vec<String> = redis::cmd("KEYS").arg("product:all:W*").query(&mut site.l2).expect("keys");
    keys.iter().filter(|key| !key.ends_with(":_lease")).count()
}
