//! Topics that are not as the configuration says.

use std::fs;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::elsewhere::{CONFIGURATION, refused_by_check};
use crate::shop::Shop;

/// One that ingest creates, and does not write to.
const TOPIC: &str = "lockstep.grade";
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Made by somebody who knew of three brokers, where there is one.
pub fn one_takes_no_writes(shop: &Shop) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &shop.endpoints().kafka);
    let admin: AdminClient<DefaultClientContext> = settings.create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let specs = lockstep_schemas::topics::all(["items"], 4);
    let spec = specs.iter().find(|spec| spec.name == TOPIC).expect("a topic of ours");
    let mut topic = NewTopic::new(TOPIC, spec.partitions, TopicReplication::Fixed(1));
    for (name, value) in &spec.settings {
        topic = topic.set(name, value);
    }
    let made = runtime.block_on(admin.create_topics([&topic.set("min.insync.replicas", "2")], &options));
    made.expect("an answer").remove(0).expect("a topic");
    refused_by_check(
        &shop.lockstep,
        &format!("FAIL  topic {TOPIC}: topic {TOPIC} has min.insync.replicas = 2 and 1 replicas"),
        &format!("kafka-configs --alter --topic {TOPIC} --add-config min.insync.replicas=1"),
    );
    let gone = runtime.block_on(admin.delete_topics(&[TOPIC], &options));
    gone.expect("an answer").remove(0).expect("a deleted topic");
}

/// Once ingest has made them, with as many replicas as the broker gives by itself.
pub fn replicas_are_compared(shop: &Shop, policy: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let configuration = format!("{CONFIGURATION}[kafka]\nreplication = 3\n");
    fs::write(folder.path().join("lockstep.toml"), configuration).expect("a written configuration");
    fs::write(folder.path().join("policy.toml"), policy).expect("a written policy");
    let lockstep = shop.lockstep.clone().within(folder.path());
    for topic in ["lockstep.items", "lockstep.progress"] {
        refused_by_check(
            &lockstep,
            &format!("FAIL  topic {topic}: topic {topic} has 1 replicas, not 3"),
            "configure [kafka] replication as it is",
        );
    }
}
