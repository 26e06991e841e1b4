//! A cluster that changes its shape: primaries that were none when the library was loaded.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::{RedisServers, Url};
use lockstep_schemas::policy::{DEFAULT, Policy, TierName};
use lockstep_stack::{Services, Stack};
use lockstep_tiers::{Layout, Place, Read, Tier};
use redis::{Cmd, FromRedisValue};

use crate::bench::{options, plain};

const PARTITIONS: u32 = 16;
const SHAPE_WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_PAUSE: Duration = Duration::from_millis(50);

async fn ask<T: FromRedisValue>(url: &str, words: &[&str]) -> T {
    let mut command: Cmd = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut plain(url).await).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Waits until a node says something.
async fn wait(url: &str, words: &[&str], expected: &str) {
    let told = async {
        while !ask::<String>(url, words).await.contains(expected) {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    tokio::time::timeout(SHAPE_WAIT_MAX, told).await.unwrap_or_else(|_| panic!("{url} never says {expected}"));
}

async fn has_library(url: &str) -> bool {
    let listed: redis::Value = ask(url, &["FUNCTION", "LIST"]).await;
    format!("{listed:?}").contains("lockstep1_read")
}

async fn tier(urls: &[String], namespace: &str) -> Tier {
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let layout = Arc::new(Layout::new(&policy, namespace, PARTITIONS));
    let urls = urls.iter().map(|url| Url::parse("a node", url, &["redis"]).expect("a URL")).collect();
    Tier::connect(TierName::L1, &RedisServers::Cluster(urls), layout).await.expect("a tier")
}

async fn read(tier: &Tier, partition: u32) {
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let view = &policy.views["product_hot"];
    let place = Place { group: view.group.clone(), partition };
    // Any entity does: a place is told by the caller.
    let read = tier.read(&place, &view.key.key("7"), None).await;
    assert!(matches!(read, Ok(Read::Lease(_) | Read::Busy(_))), "place {partition}: {read:?}");
}

#[tokio::test]
#[ignore = "a cluster of its own that changes its shape"]
async fn a_primary_that_was_none_gets_the_library() {
    lockstep_process::install_crypto_provider();
    let stack = Stack::start(options(Services { l1: true, ..Services::NONE }), &mut |_| {}).expect("a cluster");
    let nodes = stack.endpoints().l1.clone();
    let (before, fresh) = (tier(&nodes, "").await, tier(&nodes, "fresh.").await);
    before.load_library().await.expect("the library");

    // A replica has it from its primary, soon.
    let had = async {
        while !has_library(&nodes[3]).await {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    };
    tokio::time::timeout(SHAPE_WAIT_MAX, had).await.expect("a replica has its primary's functions");
    let _: String = ask(&nodes[3], &["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
    wait(&nodes[3], &["INFO", "replication"], "role:master").await;
    for partition in 0..PARTITIONS {
        read(&before, partition).await;
    }

    // A node that joins later has nothing, and gets it with the first call that comes to it.
    let joining = &nodes[4];
    let _: String = ask(joining, &["CLUSTER", "RESET", "HARD"]).await;
    let _: String = ask(joining, &["FUNCTION", "FLUSH"]).await;
    let (_, address) = nodes[3].trim_end_matches('/').rsplit_once('/').expect("a URL");
    let (host, port) = address.split_once(':').expect("an address");
    let _: String = ask(joining, &["CLUSTER", "MEET", host, port]).await;
    wait(joining, &["CLUSTER", "INFO"], "cluster_state:ok").await;
    let slot = moved_to(&fresh, &nodes, joining).await;
    assert!(!has_library(joining).await, "it has none to begin with");
    read(&fresh, 0).await;
    assert!(has_library(joining).await, "slot {slot}: the call came elsewhere");
}

/// Moves the empty slot of a tier's first place to a node.
async fn moved_to(tier: &Tier, nodes: &[String], joining: &str) -> String {
    let policy = Policy::parse(DEFAULT).expect("the default policy");
    let place = Place { group: policy.views["product_hot"].group.clone(), partition: 0 };
    let slot: u64 = ask(joining, &["CLUSTER", "KEYSLOT", &tier.layout().watermark(&place)]).await;
    let slot = slot.to_string();
    let id: String = ask(joining, &["CLUSTER", "MYID"]).await;
    let mut owner = None;
    for url in nodes {
        wait(url, &["CLUSTER", "NODES"], &id).await;
        let mine: String = ask(url, &["CLUSTER", "MYID"]).await;
        let is_primary = ask::<String>(url, &["INFO", "replication"]).await.contains("role:master");
        let name = tier.layout().watermark(&place);
        let exists: Result<i64, _> = redis::cmd("EXISTS").arg(name).query_async(&mut plain(url).await).await;
        if is_primary && exists.is_ok() {
            owner = Some((url, mine));
        }
    }
    let (owner, owner_id) = owner.expect("an owner of the slot");
    let _: String = ask(joining, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &owner_id]).await;
    let _: String = ask(owner, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id]).await;
    for url in [joining, owner] {
        let _: String = ask(url, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
    }
    slot
}
