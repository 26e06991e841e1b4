//! Another history: nothing is taken for granted that may not be so.

use lockstep_schemas::control::ControlKind;
use lockstep_schemas::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
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

    delete_all_topics(shop).await;
    check(shop, "E-4", 3).await;
}

/// Runs ingest for one change, and looks at the epoch that it belongs to.
async fn check(shop: &Shop, product: &str, epoch: u16) {
    let ingest = shop.start().await;
    let seen = shop.commit(&format!("INSERT INTO products (product_id, name) VALUES ('{product}', 'bowl')")).await;
    let log = shop.log_now().await;
    ingest.stop().await;
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].change().position.epoch, epoch, "{product}");
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

async fn delete_all_topics(shop: &Shop) {
    let admin: AdminClient<DefaultClientContext> =
        topics::client(&shop.kafka, "test-admin").create().expect("a client");
    let names: Vec<String> = topics::all(shop.groups(), PARTITIONS).into_iter().map(|spec| spec.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for deleted in admin.delete_topics(&names, &options).await.expect("an answer") {
        deleted.expect("a deleted topic");
    }
    let consumer: BaseConsumer = topics::reader(&shop.kafka, "test-admin").create().expect("a client");
    shop.until("the topics to be gone", async || {
        let metadata = consumer.fetch_metadata(None, WAIT_MAX).expect("metadata");
        (!metadata.topics().iter().any(|topic| names.contains(&topic.name()))).then_some(())
    })
    .await;
}
