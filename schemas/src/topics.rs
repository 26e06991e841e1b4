//! The topics: names, settings, and clients for them.

use lockstep_process::Failure;
use lockstep_process::config::{KafkaConfig, SaslMechanism};
use rdkafka::ClientConfig;
use secrecy::ExposeSecret as _;

use crate::brokers;
use crate::policy::Policy;

/// A topic of one partition, by what it is for. Its name in Kafka begins with the installation's prefix where it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    name: &'static str,
    is_ours: bool,
}

/// Complete up to where? One partition.
pub const PROGRESS: Topic = Topic::ours("progress");
/// Avro schemas by id, in the form of Confluent's `_schemas`. One partition, compacted.
pub const SCHEMAS: Topic = Topic::ours("schemas");
/// Ingest's checkpoint. One partition, compacted.
pub const CHECKPOINT: Topic = Topic::ours("checkpoint");
/// The hot set. One partition, compacted.
pub const HOT: Topic = Topic::ours("hot");
/// How good the hot set is. One partition, compacted.
pub const GRADE: Topic = Topic::ours("grade");
/// What could not be done as it should, with cause and remedy. One partition.
pub const PARKED: Topic = Topic::ours("parked");
/// What operators have switched: kept for ever. One partition.
pub const SWITCHES: Topic = Topic::ours("switches");
/// What the forecast has learnt. One partition, compacted.
pub const FORECAST: Topic = Topic::ours("forecast");
/// How often the auditor found copies right. One partition, compacted, and nothing older than a month.
pub const AUDIT: Topic = Topic::ours("audit");
/// Which products were read: the shop's, whoever writes it. One partition.
pub const VIEWS: Topic = Topic { name: "shop.views", is_ours: false };
/// Forecast scores: any model's. One partition.
pub const SCORES: Topic = Topic { name: "forecast.scores", is_ours: false };

impl Topic {
    /// A topic of ours: a group's, where it has one partition only.
    pub const fn ours(name: &'static str) -> Self {
        Topic { name, is_ours: true }
    }

    /// Its name without the installation's prefix; the whole of it where it is not ours.
    pub const fn base_name(self) -> &'static str {
        self.name
    }

    /// Its name in Kafka.
    pub fn name(self, kafka: &KafkaConfig) -> String {
        if self.is_ours { of_group(kafka, self.name) } else { self.name.to_owned() }
    }
}

/// The header that marks a control record.
pub const CONTROL_HEADER: &str = "lockstep.control";

/// The topic of a group.
pub fn of_group(kafka: &KafkaConfig, group: &str) -> String {
    format!("{}.{group}", kafka.topic_prefix)
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
pub fn all<'g>(kafka: &KafkaConfig, groups: impl IntoIterator<Item = &'g str>, partitions: u32) -> Vec<TopicSpec> {
    const MONTH: (&str, &str) = ("retention.ms", "2592000000");
    const WEEK: (&str, &str) = ("retention.ms", "604800000");
    const FOREVER: (&str, &str) = ("retention.ms", "-1");
    const DAY: (&str, &str) = ("retention.ms", "86400000");
    const DELETE: (&str, &str) = ("cleanup.policy", "delete");
    const COMPACT: (&str, &str) = ("cleanup.policy", "compact");
    const ELECTION: (&str, &str) = ("unclean.leader.election.enable", "false");
    // Any model may write scores: when that was, the broker says, not the writer's clock.
    const BY_BROKER: (&str, &str) = ("message.timestamp.type", "LogAppendTime");
    let spec = |name: String, partitions, settings: &[_]| TopicSpec { name, partitions, settings: settings.to_vec() };
    let one = |topic: Topic, settings: &[_]| spec(topic.name(kafka), 1, settings);
    let groups =
        groups.into_iter().map(|group| spec(of_group(kafka, group), partitions as i32, &[DELETE, WEEK, ELECTION]));
    let state = [SCHEMAS, CHECKPOINT, HOT, FORECAST, GRADE].map(|topic| one(topic, &[COMPACT, ELECTION]));
    let scores = one(SCORES, &[DELETE, WEEK, ELECTION, BY_BROKER]);
    let flow = [(PROGRESS, DAY), (PARKED, MONTH), (SWITCHES, FOREVER), (VIEWS, DAY)]
        .map(|(topic, keep)| one(topic, &[DELETE, keep, ELECTION]));
    let kept = one(AUDIT, &[("cleanup.policy", "compact,delete"), MONTH, ELECTION]);
    groups.chain(state).chain(flow).chain([scores, kept]).collect()
}

/// Refuses to work with another partition count than that of the groups' topics: keys would be looked for in other
/// partitions than those in which they are kept up to date. Topics that do not exist yet are nobody's mistake.
pub async fn insist_on_partitions(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<(), Failure> {
    let counts = brokers::partition_counts(kafka, "start").await?;
    let of_groups = policy.groups.keys().filter_map(|group| counts.get_key_value(&of_group(kafka, group)));
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
        .set("client.id", own_name(kafka, id))
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

/// What a consumer group of ours, or a transaction, is called.
pub fn own_name(kafka: &KafkaConfig, id: &str) -> String {
    format!("{}-{id}", kafka.topic_prefix)
}

/// How the metadata of a tier's offset begins, where the tier forgot what it had applied: up to which offset it is repaired.
pub const REPAIRING: &str = "repairing to ";

/// A consumer without a group of its own: places are kept elsewhere, never by Kafka.
pub fn reader(kafka: &KafkaConfig, id: &str) -> ClientConfig {
    let mut config = client(kafka, id);
    config
        .set("group.id", own_name(kafka, id))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384");
    config
}
