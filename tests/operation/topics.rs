//! Topics that are not as the configuration says.

use std::fs;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::elsewhere::{CONFIGURATION, refused_by_check};
use crate::harness::kafka;
use crate::shop::Shop;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How a topic differs from what it must be, what its line says, and its remedy.
struct Fault {
    topic: &'static str,
    partitions: Option<i32>,
    setting: Option<(&'static str, &'static str)>,
    says: &'static str,
    remedy: &'static str,
}

const FAULTS: [Fault; 4] = [
    // Made by somebody who knew of three brokers, where there is one.
    Fault {
        topic: "lockstep.grade",
        partitions: None,
        setting: Some(("min.insync.replicas", "2")),
        says: "has min.insync.replicas = 2 and 1 replicas",
        remedy: "kafka-configs --alter --topic lockstep.grade --add-config min.insync.replicas=1",
    },
    // What it forgets nobody can replay.
    Fault {
        topic: "lockstep.items",
        partitions: None,
        setting: Some(("retention.ms", "1000")),
        says: "has retention.ms = 1000, not ",
        remedy: "kafka-configs --alter --topic lockstep.items --add-config retention.ms=",
    },
    // A checkpoint that is deleted for its age is a new epoch.
    Fault {
        topic: "lockstep.checkpoint",
        partitions: None,
        setting: Some(("cleanup.policy", "delete")),
        says: "has cleanup.policy = delete, not compact",
        remedy: "kafka-configs --alter --topic lockstep.checkpoint --add-config cleanup.policy=compact",
    },
    Fault {
        topic: "lockstep.items",
        partitions: Some(3),
        setting: None,
        says: "has 3 partitions, not 4",
        remedy: "configure as many partitions as there are",
    },
];

/// Before ingest has made them.
pub fn faults_are_told(shop: &Shop) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &shop.endpoints().kafka);
    let admin: AdminClient<DefaultClientContext> = settings.create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let specs = lockstep_schemas::topics::all(&kafka::config(&shop.endpoints().kafka), ["items"], 4);
    for fault in FAULTS {
        let spec = specs.iter().find(|spec| spec.name == fault.topic).expect("a topic of ours");
        let partitions = fault.partitions.unwrap_or(spec.partitions);
        let mut topic = NewTopic::new(fault.topic, partitions, TopicReplication::Fixed(1));
        let others =
            spec.settings.iter().copied().filter(|(name, _)| fault.setting.is_none_or(|(own, _)| own != *name));
        for (name, value) in others.chain(fault.setting) {
            topic = topic.set(name, value);
        }
        let made = runtime.block_on(admin.create_topics([&topic], &options));
        made.expect("an answer").remove(0).expect("a topic");
        let line = format!("FAIL  topic {0}: topic {0} {1}", fault.topic, fault.says);
        refused_by_check(&shop.lockstep, &line, fault.remedy);
        let gone = runtime.block_on(admin.delete_topics(&[fault.topic], &options));
        gone.expect("an answer").remove(0).expect("a deleted topic");
    }
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
