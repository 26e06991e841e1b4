//! Another history: nothing is taken for granted that may not be so.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use lockstep_schemas::control::ControlKind;
use lockstep_schemas::topics::{self, TopicSpec};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::log::Log;
use crate::shop::{PARTITIONS, Shop, WAIT_MAX};

pub async fn a_broken_history_is_a_new_epoch(shop: &Shop) {
    shop.start().await.stop().await;
    check(shop, "E-1", 1).await;
    // A restart is none of these.
    check(shop, "E-2", 1).await;

    shop.execute("SELECT pg_drop_replication_slot('lockstep')").await;
    check(shop, "E-3", 2).await;

    let specs = topics::all(&shop.kafka, shop.groups(), PARTITIONS);
    delete_topics(shop, &specs).await;
    check(shop, "E-4", 3).await;

    // Without the schemas what was published before can't be read any more; everything after it must be.
    let name = topics::SCHEMAS.name(&shop.kafka);
    let schemas: Vec<TopicSpec> = specs.into_iter().filter(|spec| spec.name == name).collect();
    let before = ends(shop);
    delete_topics(shop, &schemas).await;
    check_after(shop, &before, "E-5", 4).await;

    // The topic is there, and empty: somebody was killed when he had just made it.
    let before = ends(shop);
    delete_topics(shop, &schemas).await;
    create_topics(shop, &schemas).await;
    check_after(shop, &before, "E-6", 5).await;
    check_after(shop, &before, "E-7", 5).await;
}

/// What somebody deletes beneath an ingest that runs: a topic of state only is made again; one with places, or with what
/// records are read by, begins a new epoch.
pub async fn a_topic_that_goes_is_made_again(shop: &Shop) {
    let ingest = shop.start().await;
    let of = |topic: topics::Topic| -> Vec<TopicSpec> {
        let name = topic.name(&shop.kafka);
        topics::all(&shop.kafka, shop.groups(), PARTITIONS).into_iter().filter(|spec| spec.name == name).collect()
    };
    let epoch = async || shop.scalar::<i32>("SELECT max(epoch)::int FROM lockstep.epoch").await;
    let is_there = async |specs: &[TopicSpec]| {
        let consumer: BaseConsumer = topics::reader(&shop.kafka, "test-admin").create().expect("a client");
        let metadata = consumer.fetch_metadata(None, WAIT_MAX).expect("metadata");
        metadata.topics().iter().any(|topic| topic.name() == specs[0].name).then_some(())
    };
    let switches = of(topics::SWITCHES);
    delete_topics(shop, &switches).await;
    shop.until("the topic of switches", async || is_there(&switches).await).await;
    assert_eq!(epoch().await, 1, "nothing of the log is lost by it");
    delete_topics(shop, &of(topics::SCHEMAS)).await;
    shop.until("a new epoch", async || (epoch().await == 2).then_some(())).await;
    ingest.stop().await;
    check(shop, "G-1", 2).await;
}

/// The same name, timeline and slot, but the log ends before what was read of it.
pub fn a_server_put_back_is_a_new_epoch(shop: &mut Shop) {
    shop.run(async |shop| {
        shop.start().await.stop().await;
        check(shop, "B-1", 1).await;
    });
    shop.while_postgres_is_down(|folder| move_folder(folder, &["cp", "-a"], "data", "kept"));
    shop.run(async |shop| {
        check(shop, "B-2", 1).await;
        // What comes after the restore is less than what was lost by it.
        let ingest = shop.start().await;
        shop.execute(
            "INSERT INTO products (product_id, name) SELECT 'B-3-' || n, 'bowl' FROM generate_series(1, 2000) n",
        )
        .await;
        shop.progress_past(shop.now().await).await;
        ingest.stop().await;
    });
    shop.while_postgres_is_down(|folder| {
        move_folder(folder, &["rm", "-r"], "data", "");
        move_folder(folder, &["mv"], "kept", "data");
    });
    shop.run(async |shop| {
        // LSNs and transaction ids come again: only what is new in the log, and of a new epoch, is this change.
        let before = ends(shop);
        let ingest = shop.start().await;
        let (transaction, xid) = shop.begin("INSERT INTO products (product_id, name) VALUES ('B-4', 'bowl')").await;
        transaction.commit().await.expect("a commit");
        shop.until("the change in a new epoch", async || {
            let log = Log::read_between(&shop.kafka, &before, &ends(shop)).await;
            let seen = log.of(xid);
            let mut rows = seen.iter().filter(|seen| seen.control().is_none());
            rows.any(|row| row.change().position.epoch == 2).then_some(())
        })
        .await;
        ingest.stop().await;
    });
}

/// Runs a command on folders of a server that is down.
fn move_folder(within: &Path, command: &[&str], from: &str, to: &str) {
    let mut run = Command::new(command[0]);
    run.args(&command[1..]).arg(within.join(from));
    if !to.is_empty() {
        run.arg(within.join(to));
    }
    assert!(run.status().expect("a command").success(), "{run:?}");
}

async fn check(shop: &Shop, product: &str, epoch: u16) {
    check_after(shop, &BTreeMap::new(), product, epoch).await;
}

/// The end of each partition.
fn ends(shop: &Shop) -> BTreeMap<String, Vec<i64>> {
    shop.groups().map(|group| (group.to_owned(), shop.ends(group))).collect()
}

/// Runs ingest for one change, and looks at the epoch that it belongs to, in the log from these offsets on.
async fn check_after(shop: &Shop, before: &BTreeMap<String, Vec<i64>>, product: &str, epoch: u16) {
    let ingest = shop.start().await;
    let (transaction, xid) =
        shop.begin(&format!("INSERT INTO products (product_id, name) VALUES ('{product}', 'bowl')")).await;
    transaction.commit().await.expect("a commit");
    let progress = shop.progress_past(shop.now().await).await;
    let log = Log::read_between(&shop.kafka, before, &progress.next).await;
    ingest.stop().await;
    let seen = log.of(xid);
    let rows: Vec<_> = seen.iter().filter(|seen| seen.control().is_none()).collect();
    assert_eq!(rows.len(), 1, "{seen:?}");
    assert_eq!(rows[0].change().position.epoch, epoch, "{product}");
    let known: Vec<i32> = sqlx::query_scalar("SELECT epoch FROM lockstep.epoch ORDER BY epoch")
        .fetch_all(&shop.pool)
        .await
        .expect("epochs");
    assert!(known.into_iter().eq(1..=i32::from(epoch)), "each epoch stands in the table, once");
    check_announced(&log, epoch, shop.groups());
}

/// Each partition of each group learns of the epoch, once, before the first change of it.
fn check_announced<'g>(log: &Log, epoch: u16, groups: impl Iterator<Item = &'g str>) {
    for group in groups {
        for partition in 0..PARTITIONS {
            let here = log.0.iter().filter(|seen| (seen.group.as_str(), seen.partition) == (group, partition));
            let of_epoch: Vec<_> = here.filter(|seen| seen.position().is_some_and(|at| at.epoch == epoch)).collect();
            let is_news = |kind| kind == ControlKind::Epoch;
            let news = of_epoch.iter().map(|seen| seen.control().is_some_and(|control| is_news(control.kind)));
            let news: Vec<bool> = news.collect();
            assert_eq!(news.first(), Some(&true), "{group} {partition}: the epoch's first record announces it");
            assert_eq!(news.iter().filter(|news| **news).count(), 1, "{group} {partition}: once");
            let ordinal = of_epoch[0].position().map(|position| position.ordinal);
            assert_eq!(ordinal, Some(0), "before all changes of the epoch");
        }
    }
}

fn admin(shop: &Shop) -> AdminClient<DefaultClientContext> {
    topics::client(&shop.kafka, "test-admin").create().expect("a client")
}

async fn delete_topics(shop: &Shop, specs: &[TopicSpec]) {
    let names: Vec<&str> = specs.iter().map(|spec| &*spec.name).collect();
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for deleted in admin(shop).delete_topics(&names, &options).await.expect("an answer") {
        deleted.expect("a deleted topic");
    }
    let consumer: BaseConsumer = topics::reader(&shop.kafka, "test-admin").create().expect("a client");
    shop.until("the topics to be gone", async || {
        let metadata = consumer.fetch_metadata(None, WAIT_MAX).expect("metadata");
        (!metadata.topics().iter().any(|topic| names.contains(&topic.name()))).then_some(())
    })
    .await;
}

async fn create_topics(shop: &Shop, specs: &[TopicSpec]) {
    let new = specs.iter().map(|spec| {
        let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(1));
        spec.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
    });
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for created in admin(shop).create_topics(&new.collect::<Vec<_>>(), &options).await.expect("an answer") {
        created.expect("a new topic");
    }
}
