//! Where the engine begins.

use lockstep_schemas::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::chain::{Chain, WAIT_MAX, until};
use crate::compare::{columns_of, entries};

/// [4c]: from the watermark that it finds on the tier, whatever offsets anybody has committed.
pub async fn the_engine_starts_from_the_tiers(chain: &mut Chain) {
    let before = entries(chain).await;
    chain.engine.take().expect("an engine").stop().await;
    let [stood, ..] = chain.marks().await;
    let stood = stood.expect("a watermark");

    chain.execute("UPDATE prices SET price_pence = 1 WHERE product_id = 'P-5'").await;
    chain.execute("DELETE FROM products WHERE product_id = 'P-6'").await;
    chain.execute("UPDATE users SET name = 'missed?' WHERE user_id = 5").await;
    let end =
        until("the log to have them", async || Some(end_of(chain, "catalogue")).filter(|end| *end >= stood.offset + 4))
            .await;
    for group in ["lockstep-engine", "lockstep-l2", "lockstep-l1", "lockstep-l3"] {
        commit_ends(chain, group);
    }
    chain.execute("UPDATE prices SET price_pence = 2 WHERE product_id = 'P-7'").await;

    // Nobody is there to apply them: the tiers are as they were.
    let [still, ..] = chain.marks().await;
    assert_eq!(still.as_ref(), Some(&stood));
    assert!(stood.offset < end, "there is something to lose");
    assert_eq!(entries(chain).await.l2, before.l2);

    chain.engine = Some(chain.setting.engine());
    chain.applied().await;
    let after = entries(chain).await;
    for (tier, view) in [(&after.l2, "product:all"), (&after.l1, "product:hot")] {
        for (product, price) in [("P-5", "1"), ("P-7", "2")] {
            assert_eq!(columns_of(&tier[&format!("{view}:{product}")])["price_pence"], price);
        }
        let gone = tier.get(&format!("{view}:P-6"));
        assert!(gone.is_none_or(|entry| entry.contains_key("_neg")), "{gone:?}");
    }
    assert_eq!(after.l1["user:5"]["name"], "missed?");
    // Not by a floor, which would have killed all others as well.
    let [found, ..] = chain.marks().await;
    assert_eq!(found.map(|mark| mark.floor), Some(stood.floor));
    assert_eq!(after.l2["product:all:P-8"], before.l2["product:all:P-8"]);
}

/// Offsets of topics that were made anew mean nothing to a watermark of before, however well they fit.
pub async fn a_log_that_began_anew_is_a_lost_log(chain: &mut Chain) {
    chain.engine.take().expect("an engine").stop().await;
    begin_the_log_anew(chain).await;
    chain.engine = Some(chain.setting.engine());
    check_nothing_lost(chain).await;
}

/// Nor do schema ids that an engine knows from before.
pub async fn a_log_that_began_anew_beside_an_engine_is_a_lost_log(chain: &mut Chain) {
    begin_the_log_anew(chain).await;
    check_nothing_lost(chain).await;
}

/// Takes all topics away, and lets the new log grow longer than the old one was.
async fn begin_the_log_anew(chain: &mut Chain) {
    let epochs = async |chain: &Chain| chain.scalar::<i64>("SELECT count(*) FROM lockstep.epoch").await;
    chain.ingest.take().expect("an ingest").stop().await;
    let (old_end, known) = (end_of(chain, "catalogue"), epochs(chain).await);
    delete_topics(chain).await;
    chain.ingest = Some(chain.setting.ingest());
    until("a new epoch", async || (epochs(chain).await == known + 1).then_some(())).await;
    chain.execute("UPDATE prices SET price_pence = 6 WHERE product_id = 'P-15'").await;
    for n in 0..old_end {
        chain.execute(&format!("UPDATE inventory SET stock = {} WHERE product_id = 'P-16'", n % 9)).await;
    }
    until("the new log to be longer", async || Some(end_of(chain, "catalogue")).filter(|end| *end > old_end)).await;
    chain.announce_hot().await;
}

async fn delete_topics(chain: &Chain) {
    let admin: AdminClient<DefaultClientContext> =
        topics::client(&chain.setting.kafka, "test-admin").create().expect("a client");
    let groups = chain.setting.policy.groups.keys().map(|name| &**name);
    let specs = topics::all(&chain.setting.kafka, groups, 1);
    let names: Vec<String> = specs.into_iter().map(|spec| spec.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(WAIT_MAX));
    for deleted in admin.delete_topics(&names, &options).await.expect("an answer") {
        deleted.expect("a deleted topic");
    }
    let consumer = client(chain, "test-offsets");
    until("the topics to be gone", async || {
        let metadata = consumer.fetch_metadata(None, WAIT_MAX).expect("metadata");
        (!metadata.topics().iter().any(|topic| names.contains(&topic.name()))).then_some(())
    })
    .await;
}

/// The first change of the new log, at an offset that the old one had too.
async fn check_nothing_lost(chain: &Chain) {
    chain.applied().await;
    let found = entries(chain).await;
    for copy in [found.l2.get("product:all:P-15"), found.l1.get("product:hot:P-15")] {
        assert!(copy.is_none_or(|copy| copy["price_pence"] == "6"), "{copy:?}");
    }
    chain.fill("product_all", "P-15").await;
    assert_eq!(entries(chain).await.l2["product:all:P-15"]["price_pence"], "6");
}

fn client(chain: &Chain, group: &str) -> BaseConsumer {
    let mut config = topics::reader(&chain.setting.kafka, "test-offsets");
    config.set("group.id", group).create().expect("a client")
}

pub fn end_of(chain: &Chain, group: &str) -> i64 {
    let topic = topics::of_group(&chain.setting.kafka, group);
    client(chain, "test-offsets").fetch_watermarks(&topic, 0, WAIT_MAX).expect("an end").1
}

/// Says in a consumer group's name that it has read everything.
fn commit_ends(chain: &Chain, group: &str) {
    let mut list = TopicPartitionList::new();
    for topic_group in ["catalogue", "customers"] {
        let offset = Offset::Offset(end_of(chain, topic_group));
        list.add_partition_offset(&topics::of_group(&chain.setting.kafka, topic_group), 0, offset)
            .expect("a partition");
    }
    client(chain, group).commit(&list, CommitMode::Sync).expect("committed offsets");
    let committed = client(chain, group).committed_offsets(list.clone(), WAIT_MAX).expect("committed offsets");
    assert_eq!(committed, list);
}
