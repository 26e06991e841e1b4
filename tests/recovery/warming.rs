//! Warming: under a budget, stopped and gone on with; and once by itself, where the installation is new.

use lockstep_schemas::policy::DEFAULT;

use crate::harness::process::send;
use crate::harness::{Program, until};
use crate::site::{LIMIT, PRODUCTS, Site};

const NOT_YET: i32 = 75;
/// More than a chunk, so that there is something left when it is stopped.
pub const MORE: usize = 1_200;

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

/// The role fills what no reader has asked for yet: killed in the middle it goes on, and once it is done it is never done
/// again.
pub fn a_new_installation_warms_itself_once(site: &mut Site) {
    emptied(site);
    // One entry a second: a chunk takes it more than eight minutes.
    let slow = DEFAULT.replacen("[warming]\n", "[warming]\nentries_per_second = 2\n", 1);
    let slow = only_first_rate(&slow);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("slow.toml");
    std::fs::write(&file, slow).expect("a policy");
    let killed = warmer(site, file.to_str());
    until("some entries", LIMIT, || (entries(site) > 0).then_some(()));
    let status = site.ask_json("status");
    let (kind, view) = (&status["switches"][0]["kind"], &status["switches"][0]["view"]);
    assert_eq!((kind, view), (&"warming".into(), &"product_all".into()), "{status}");
    send(killed.pid(), libc::SIGKILL);
    drop(killed);
    assert!(entries(site) < MORE, "it was killed in the middle");
    // Somebody else was filling one, and is no more.
    let marker = format!("product:all:W{}:_lease", MORE - 1);
    redis::cmd("SET").arg(&marker).arg("of who was killed").exec(&mut site.l2).expect("a marker");

    let goes_on = warmer(site, None);
    goes_on.line("a later look", LIMIT, |line: &str| line.contains("they are looked at again").then_some(()));
    redis::cmd("UNLINK").arg(&marker).exec(&mut site.l2).expect("its end");
    let done = |line: &str| line.contains("the first warming is done").then_some(());
    goes_on.line("the end of the first warming", LIMIT, done);
    assert_eq!(all(site), MORE + PRODUCTS);
    goes_on.terminate();
    drop(goes_on);
    assert_eq!(site.ask_json("status")["switches"], serde_json::Value::Array(Vec::new()));

    emptied(site);
    let later = warmer(site, None);
    let before = |line: &str| line.contains("the first warming was done before").then_some(());
    later.line("what was done before", LIMIT, before);
    later.terminate();
    drop(later);
    assert_eq!(all(site), 0, "nobody asked for anything");
}

fn warmer(site: &Site, policy: Option<&str>) -> Program {
    let lockstep = site.shop.lockstep.clone().set("LOCKSTEP_LOG", "lockstep_warmer=debug,info");
    let lockstep = policy.map_or(lockstep.clone(), |policy| lockstep.set("LOCKSTEP_POLICY", policy));
    lockstep.start(&["run", "--role", "warmer"])
}

/// L2 has forgotten everything, and the lanes have begun anew.
fn emptied(site: &mut Site) {
    redis::cmd("FLUSHALL").exec(&mut site.l2).expect("a flush");
    site.settled();
    until("an empty L2", LIMIT, || (all(site) == 0).then_some(()));
}

/// A section may name a key once.
fn only_first_rate(policy: &str) -> String {
    let mut seen = false;
    let is_kept = |line: &&str| !line.starts_with("entries_per_second") || !std::mem::replace(&mut seen, true);
    policy.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

fn all(site: &mut Site) -> usize {
    count(site, "product:all:*")
}

fn entries(site: &mut Site) -> usize {
    count(site, "product:all:W*")
}

fn count(site: &mut Site, pattern: &str) -> usize {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut site.l2).expect("keys");
    keys.iter().filter(|key| !key.ends_with(":_lease")).count()
}
