//! The primary of the database dies, and a standby that lacks its last commits takes its place. What was committed there alone
//! is gone, and every tier has shown it: a new epoch takes it back everywhere.

use lockstep_stack::{PostgresVersion, Service, StackOptions};

use crate::faults::{FLOW, REPAIR_LIMIT, REPAIR_LOOK, differing, said, told};
use crate::harness::until;
use crate::load::Load;
use crate::site::{LIMIT, Site};
use crate::ways::host_of;

pub fn a_promotion_loses_commits() {
    let options =
        StackOptions { postgres_version: PostgresVersion::V18, postgres_standby: true, ..StackOptions::default() };
    let mut site = Site::open_apart(options);
    site.announce_hot();
    let load = Load::start(&site);
    load.flowed(FLOW / 4);

    let standby = site.shop.endpoints().standby_url.clone();
    let cut = "ALTER SYSTEM SET primary_conninfo = ''; SELECT pg_reload_conf()";
    cut.split("; ").for_each(|statement| drop(site.shop.sql_at(&standby, statement)));
    let receives = "SELECT count(*) FROM pg_stat_wal_receiver";
    until("the standby to be cut off", LIMIT, || (site.shop.sql_at(&standby, receives) == "0").then_some(()));
    load.flowed(FLOW / 4);
    let (changes, reads, _, backwards) = load.end();
    assert!(backwards.is_empty(), "{backwards:?}");
    let lsn = site.shop.commit("UPDATE prices SET price_pence = price_pence + 1000000");
    for tier in ["l2", "l1", "l3"] {
        site.ask(&format!("wait --for {lsn} --tier {tier} --timeout {REPAIR_LIMIT}"));
    }
    let lost = site.price("P0").expect("a price");
    assert!(lost > 1_000_000, "readers see what will be lost");

    let since = said(&site).len();
    site.shop.kill(Service::Postgres);
    site.shop.promote_standby();
    site.ways().database.lead_to(host_of(&standby));
    site.shop.move_to(&standby);
    site.restart_roles();
    told(&site, since, "swept below raised floors");
    until("the new epoch", REPAIR_LOOK, || {
        (site.shop.try_sql("SELECT reason FROM lockstep.epoch WHERE epoch = 2")? == "another timeline").then_some(())
    });
    let load = Load::start(&site);
    load.flowed(FLOW / 2);
    let (more_changes, more_reads, failed, backwards) = load.end();
    let differing = differing(&mut site);
    eprintln!(
        "commits lost by a promotion: {} changes, {} reads ({failed} without an answer), {} backwards, {} differ",
        changes + more_changes,
        reads + more_reads,
        backwards.len(),
        differing.len()
    );
    assert!(differing.is_empty(), "{differing:?}");
    assert!(site.price("P0").expect("a price") < lost, "what was lost is gone");
    site.close();
}
