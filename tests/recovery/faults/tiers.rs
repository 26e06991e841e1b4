//! Nodes of Redis that forget: killed, restarted from an old file, failed over without the last writes,
//! flushed.

use std::time::Duration;

use lockstep_stack::{L1_NODES, Service};

use crate::faults::{REPAIR_LOOK, said, told, told_one_of};
use crate::harness::process::send;
use crate::harness::until;
use crate::load::Load;
use crate::site::{LIMIT, Site, connect};

const FORGOT: &str = "the tier forgot what it had applied";
const BACK: &str = "the tier answers again; it catches up from the log";

pub fn l2_from_an_old_file(site: &mut Site, _: &Load) -> String {
    let since = said(site).len();
    redis::cmd("SAVE").exec(&mut site.l2).expect("a file");
    let saved = watermarks(site);
    until("changes beyond the file", LIMIT, || (watermarks(site) != saved).then_some(()));
    site.shop.kill(Service::L2);
    site.shop.restart(Service::L2);
    site.reconnect();
    told(site, since, FORGOT)
}

/// A replica gets no more writes; then its primary dies, and the replica takes its place.
pub fn l1_fails_over_without_the_last_writes(site: &mut Site, _: &Load) -> String {
    let since = said(site).len();
    let (primary, replica) = pair(site);
    let pid = site.shop.pid(Service::L1(replica));
    // Stopped, it can't ask again once its link ends: whatever is written from now on is the primary's alone.
    send(pid, libc::SIGSTOP);
    let url = &site.shop.endpoints().l1[primary];
    redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("REPLICA").exec(&mut connect(url)).expect("a cut link");
    let of = watermarks_of(site, primary);
    until("writes that are lost", LIMIT, || (watermarks_of(site, primary) != of).then_some(()));
    site.shop.kill(Service::L1(primary));
    send(pid, libc::SIGCONT);
    let url = site.shop.endpoints().l1[replica].clone();
    until("the replica to be a primary", REPAIR_LOOK, || {
        let role: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connect(&url)).ok()?;
        matches!(role.first(), Some(redis::Value::BulkString(name)) if name == b"master").then_some(())
    });
    // A fail-over takes longer than a tier may be away before the others go on without it.
    let sign = told_one_of(site, since, &[FORGOT, BACK]);
    site.shop.restart(Service::L1(primary));
    sign
}

pub fn flushed(site: &mut Site, _: &Load) -> String {
    let since = said(site).len();
    let nodes = [&[site.shop.endpoints().l2.clone()], &site.shop.endpoints().l1[..]].concat();
    for url in nodes {
        // Replicas refuse; which nodes are primaries may have changed.
        let _ = redis::cmd("FLUSHALL").exec(&mut connect(&url));
    }
    told(site, since, "floor raised: the tier was unknown")
}

pub fn functions_flushed(site: &mut Site, _: &Load) -> String {
    let since = said(site).len();
    redis::cmd("FUNCTION").arg("FLUSH").exec(&mut site.l2).expect("a flush");
    told(site, since, "a node lacks the function library")
}

/// A primary of L1 that holds entries, and its replica.
fn pair(site: &Site) -> (usize, usize) {
    let ids: Vec<String> = (0..L1_NODES)
        .map(|node| {
            redis::cmd("CLUSTER").arg("MYID").query(&mut connect(&site.shop.endpoints().l1[node])).expect("an id")
        })
        .collect();
    let nodes: String =
        redis::cmd("CLUSTER").arg("NODES").query(&mut connect(&site.shop.endpoints().l1[0])).expect("the nodes");
    let of = |id: &str| ids.iter().position(|known| known == id);
    let pairs = nodes.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (id, is_replica) = (words.next()?, words.nth(1)?.contains("slave"));
        is_replica.then_some(())?;
        Some((of(words.next()?)?, of(id)?))
    });
    let with_marks = |&(primary, _): &(usize, usize)| !watermarks_of(site, primary).is_empty();
    pairs.into_iter().find(with_marks).expect("a primary with a replica")
}

fn watermarks(site: &mut Site) -> Vec<Option<String>> {
    positions(&mut site.l2)
}

fn watermarks_of(site: &Site, node: usize) -> Vec<Option<String>> {
    positions(&mut connect(&site.shop.endpoints().l1[node]))
}

fn positions(node: &mut redis::Connection) -> Vec<Option<String>> {
    node.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*:_w").query(node).expect("keys");
    keys.sort();
    keys.iter().filter_map(|key| redis::cmd("HGET").arg(key).arg("pos").query(node).ok()).collect()
}
