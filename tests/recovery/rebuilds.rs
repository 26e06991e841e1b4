//! A view made anew beside the one that readers have: they keep their hits, and are switched, back, and for good.

use crate::harness::process::send;
use crate::harness::until;
use crate::load::Load;
use crate::readers::{KEPT_MIN, Readers};
use crate::shop::Page;
use crate::site::{LIMIT, PRODUCTS, Site, path};
use crate::warming::MORE;

const CALLED_WRONGLY: i32 = 64;
const NOT_YET: i32 = 75;
const ROLES: &str = "ingest,engine,gateway";
const SPOILT: &str = "W5";

pub fn a_view_is_made_anew_beside(site: &mut Site) {
    site.ask("warm product_all");
    spoil(site, "product:all:W5");
    let (load, readers) = (Load::start(site), Readers::start(site));
    let before = readers.ratio();

    let killed = site.shop.lockstep.start(&["rebuild", "product_all", "--rate", "100"]);
    until("some entries of another version", LIMIT, || (count(site, "~1~product:all:*") > 0).then_some(()));
    send(killed.pid(), libc::SIGKILL);
    drop(killed);
    assert!(count(site, "~1~product:all:*") < PRODUCTS + MORE, "it was killed in the middle");
    assert_eq!(name(site), WRONG, "readers are where they were");

    let late = site.shop.lockstep.start(&["rebuild", "product_all", "--rate", "200"]);
    let told = site.ask_json("rebuild product_all --reason suspected");
    let number = |field: &str| told[field].as_u64().unwrap_or_else(|| panic!("{field} in {told}"));
    assert_eq!((number("version"), &told["switched"]), (1, &true.into()), "{told}");
    assert!(number("filled") > 0 && number("were_there") > 0, "it went on: {told}");
    assert!(number("old_wrong") >= 1 && number("new_wrong") == 0, "{told}");
    until("the other version", LIMIT, || (name(site) == RIGHT).then_some(()));
    let during = readers.ratio();
    eprintln!("hit ratio {before:.3} before, {during:.3} until readers were switched: {told}");
    assert!(during >= before * KEPT_MIN, "hit ratio {during} after {before}");

    let late = late.wait(LIMIT);
    assert!(late.code == Some(NOT_YET) && late.stderr.contains("somebody else rebuilds it"), "{late}");

    let ended = site.shop.lockstep.run(&["rebuild", "product_all"]);
    let remedies = ["still kept beside version 1", "--finish", "--back"];
    assert!(ended.code == Some(CALLED_WRONGLY) && remedies.iter().all(|word| ended.stderr.contains(word)), "{ended}");
    site.ask("rebuild product_all --back");
    until("the version before", LIMIT, || (name(site) == WRONG).then_some(()));
    let status = site.ask("status");
    assert!(status.contains("versions of product_all: 0 is read, 1 is kept beside it"), "{status}");
    site.ask("rebuild product_all");
    until("the other version again", LIMIT, || (name(site) == RIGHT).then_some(()));
    site.ask("rebuild product_all --finish");
    assert_eq!(count(site, "product:all:*"), 0, "nothing is left of the version before");
    drop(readers);
    let (changes, reads, failed, backwards) = load.end();
    eprintln!("{changes} changes, {reads} reads ({failed} without an answer) meanwhile");
    assert!(changes > 0 && reads > 0 && backwards.is_empty(), "{backwards:?}");
    site.settled();
    // It ends well only if no copy on any node is stale.
    site.ask("audit --full --once");
    an_engine_that_begins_knows_the_version(site);
    refusals(site);
}

fn an_engine_that_begins_knows_the_version(site: &mut Site) {
    site.roles.terminate();
    site.roles.exit_code(LIMIT);
    site.roles = site.shop.lockstep.start(&["run", "--role", ROLES]);
    let ready = || Page::get(&site.shop.endpoints().gateway, "/readyz").filter(Page::is_ok);
    until("the gateway to be ready", LIMIT, ready);
    assert_eq!(name(site), RIGHT);
    site.applied("UPDATE products SET name = 'changed' WHERE product_id = 'W5'");
    let kept: Option<String> =
        redis::cmd("HGET").arg("~1~product:all:W5").arg("name").query(&mut site.l2).expect("an answer");
    assert_eq!(kept.as_deref(), Some("changed"), "it is kept in step");
    assert_eq!(name(site), "changed");
}

fn refusals(site: &Site) {
    for (command, code, words) in [
        ("rebuild product_all --back", CALLED_WRONGLY, "no older one is kept"),
        ("rebuild product_all --finish", CALLED_WRONGLY, "nothing to give up"),
        ("rebuild product_hot", 78, "name the view that it goes through"),
        ("rebuild product_al", CALLED_WRONGLY, "did you mean `product_all`?"),
    ] {
        let ended = site.shop.lockstep.run(&command.split(' ').collect::<Vec<_>>());
        assert!(ended.code == Some(code) && ended.stderr.contains(words), "{ended}");
    }
}

const RIGHT: &str = "bowl";
const WRONG: &str = "wrong";

fn spoil(site: &mut Site, key: &str) {
    let added: i64 = redis::cmd("HSET").arg(key).arg("name").arg(WRONG).query(&mut site.l2).expect("a write");
    assert_eq!(added, 0, "{key} had a name");
}

/// The name as readers see it.
fn name(site: &Site) -> String {
    let page = Page::get(&site.shop.endpoints().gateway, &path(SPOILT)).filter(Page::is_ok).expect("a page");
    let page: serde_json::Value = serde_json::from_str(&page.body).expect("JSON");
    page["name"].as_str().unwrap_or_default().to_owned()
}

fn count(site: &mut Site, pattern: &str) -> usize {
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut site.l2).expect("keys");
    keys.iter().filter(|key| !key.ends_with(":_lease")).count()
}
