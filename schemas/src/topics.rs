//! The topics: names, settings, and clients for them.

use lockstep_process::Failure;
use lockstep_process::config::{KafkaConfig, SaslMechanism};
use rdkafka::ClientConfig;
use secrecy::ExposeSecret as _;

use crate::brokers;
use crate::policy::Policy;

/// Complete up to where? One partition.
pub const PROGRESS: &str = "lockstep.progress";
/// Avro schemas by id, in the form of Confluent's `_schemas`. One partition, compacted.
pub const SCHEMAS: &str = "lockstep.schemas";
/// Ingest's checkpoint. One partition, compacted.
pub const CHECKPOINT: &str = "lockstep.checkpoint";
/// The hot set. One partition, compacted.
pub const HOT: &str = "lockstep.hot";
/// How good the hot set is. One partition, compacted.
pub const GRADE: &str = "lockstep.grade";
/// What could not be done as it should, with cause and remedy. One partition.
pub const PARKED: &str = "lockstep.parked";
/// What operators have switched: kept for ever. One partition.
pub const SWITCHES: &str = "lockstep.switches";
/// What the forecast has learnt. One partition, compacted.
pub const FORECAST: &str = "lockstep.forecast";
/// How often the auditor found copies right. One partition, compacted, and nothing older than a month.
pub const AUDIT: &str = "lockstep.audit";
/// Which products were read. One partition.
pub const VIEWS: &str = "shop.views";
/// Forecast scores. One partition.
pub const SCORES: &str = "forecast.scores";

/// The header that marks a control record.
pub const CONTROL_HEADER: &str = "lockstep.control";

/// The topic of a group.
pub fn of_group(group: &str) -> String {
    format!("lockstep.{group}")
}

/// A topic as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Its settings, where they differ from the broker's defaults.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// Every topic that Lockstep needs, for groups of `partitions` partitions each.
pub fn all<'g>(groups: impl IntoIterator<Item = &'g str>, partitions: u32) -> Vec<TopicSpec> {
    const MONTH: (&str, &str) = ("retention.ms", "2592000000");
    const WEEK: (&str, &str) = ("retention.ms", "604800000");
    const FOREVER: (&str, &str) = ("retention.ms", "-1");
    const DAY: (&str, &str) = ("retention.ms", "86400000");
    const DELETE: (&str, &str) = ("cleanup.policy", "delete");
    const COMPACT: (&str, &str) = ("cleanup.policy", "compact");
    const ELECTION: (&str, &str) = ("unclean.leader.election.enable", "false");
    // Any model may write scores: when that was, the broker says, not the writer's clock.
    const BY_BROKER: (&str, &str) = ("message.timestamp.type", "LogAppendTime");
    let spec = |name: &str, partitions, settings: &[_]| TopicSpec {
        name: name.to_owned(),
        partitions,
        settings: settings.to_vec(),
    };
    let groups = groups.into_iter().map(|group| spec(&of_group(group), partitions as i32, &[DELETE, WEEK, ELECTION]));
    let state = [SCHEMAS, CHECKPOINT, HOT, FORECAST, GRADE].map(|name| spec(name, 1, &[COMPACT, ELECTION]));
    let scores = spec(SCORES, 1, &[DELETE, WEEK, ELECTION, BY_BROKER]);
    let flow = [(PROGRESS, DAY), (PARKED, MONTH), (SWITCHES, FOREVER), (VIEWS, DAY)]
        .map(|(name, keep)| spec(name, 1, &[DELETE, keep, ELECTION]));
    let kept = spec(AUDIT, 1, &[("cleanup.policy", "compact,delete"), MONTH, ELECTION]);
    groups.chain(state).chain(flow).chain([scores, kept]).collect()
}

/// Refuses to work with another partition count than that of the groups' topics: keys would be looked for in other
/// partitions than those in which they are kept up to date. Topics that do not exist yet are nobody's mistake.
pub async fn insist_on_partitions(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<(), Failure> {
    let counts = brokers::partition_counts(kafka, "start").await?;
    let of_groups = policy.groups.keys().filter_map(|group| counts.get_key_value(&of_group(group)));
    match of_groups.into_iter().find(|(_, count)| **count != partitions as usize) {
        None => Ok(()),
        Some((topic, count)) => {
            Err(Failure::configuration(format!("topic {topic} has {count} partitions, not {partitions}"))
                .remedy("configure as many partitions as there are: the order of entities depends on the count"))
        }
    }
}

/// Settings that every client shares.
pub fn client(kafka: &KafkaConfig, id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", format!("lockstep-{id}"))
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("socket.timeout.ms", "15000")
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true");
    secure(&mut config, kafka);
    config
}

fn secure(config: &mut ClientConfig, kafka: &KafkaConfig) {
    let protocol = match (kafka.tls, kafka.sasl.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(roots) = &kafka.ca_file {
        config.set("ssl.ca.location", roots.display().to_string());
    }
    if let Some(sasl) = &kafka.sasl {
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config.set("sasl.mechanism", mechanism).set("sasl.username", &sasl.user);
        config.set("sasl.password", sasl.password.expose_secret());
    }
}

/// A producer that neither loses, reorders nor gives up: idempotent, acknowledged by all in-sync replicas, its queue
/// bounded in bytes.
pub fn producer(kafka: &KafkaConfig, id: &str) -> ClientConfig {
    let mut config = client(kafka, id);
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "1")
        .set("compression.type", "lz4")
        .set("queue.buffering.max.kbytes", "32768")
        .set("queue.buffering.max.messages", "100000");
    config
}

/// A consumer without a group of its own: places are kept elsewhere, never by Kafka.
pub fn reader(kafka: &KafkaConfig, id: &str) -> ClientConfig {
    let mut config = client(kafka, id);
    config
        .set("group.id", format!("lockstep-{id}"))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384");
    config
}
