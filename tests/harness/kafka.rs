//! What lies in a topic.

use std::time::Duration;

use lockstep_process::config::{Config, ConfigArgs, KafkaConfig};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::runtime::Builder;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Kafka, as a role without a configuration file knows it.
pub fn config(brokers: &str) -> KafkaConfig {
    let args = ConfigArgs { kafka_brokers: Some(brokers.to_owned()), ..ConfigArgs::default() };
    Config::load(&args).and_then(|config| config.kafka().cloned()).expect("a configuration")
}

/// How many records of a topic hold these bytes, of all that are in it now; and how many there are.
pub fn holding(brokers: &str, topic: &str, bytes: &str) -> (usize, usize) {
    let holds = |part: &[u8]| part.windows(bytes.len()).any(|window| window == bytes.as_bytes());
    let records = records(brokers, topic);
    (records.iter().filter(|(key, value)| holds(key) || holds(value)).count(), records.len())
}

/// Writes records under one key to a topic's first partition.
pub fn produce(brokers: &str, topic: &str, key: &str, values: &[Vec<u8>]) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers);
    let producer: BaseProducer = settings.create().expect("a producer");
    for value in values {
        let record = BaseRecord::<str, [u8]>::to(topic).partition(0).key(key).payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("a place in the queue");
    }
    producer.flush(ANSWER_LIMIT).expect("acknowledged records");
}

/// The values of all records that are in a topic now.
pub fn values(brokers: &str, topic: &str) -> Vec<Vec<u8>> {
    records(brokers, topic).into_iter().map(|(_, value)| value).collect()
}

/// Deletes every record that is in a topic now; its offsets go on.
pub fn delete_all(brokers: &str, topic: &str) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "test-delete");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let mut ends = TopicPartitionList::new();
    for partition in consumer.fetch_metadata(Some(topic), ANSWER_LIMIT).expect("metadata").topics()[0].partitions() {
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER_LIMIT).expect("its ends");
        ends.add_partition_offset(topic, partition.id(), Offset::Offset(end)).expect("a partition");
    }
    let admin: AdminClient<DefaultClientContext> = settings.create().expect("an administrator");
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_LIMIT));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let deleted = runtime.block_on(admin.delete_records(&ends, &options)).expect("deleted records");
    assert!(deleted.elements().iter().all(|partition| partition.error().is_ok()), "{deleted:?}");
}

/// Keys and values of all records that are in a topic now.
fn records(brokers: &str, topic: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "test-holding").set("enable.auto.commit", "false");
    settings.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_LIMIT).expect("the topic's metadata");
    let mut list = TopicPartitionList::new();
    let partitions = metadata.topics()[0].partitions();
    for partition in partitions {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("an assignment");
    let (mut records, mut left) = (Vec::new(), partitions.len());
    // Not by offsets: the marks of transactions take some.
    while left > 0 {
        match consumer.poll(ANSWER_LIMIT).expect("a record in time") {
            Ok(record) => {
                let part = |part: Option<&[u8]>| part.map(<[u8]>::to_vec).unwrap_or_default();
                records.push((part(record.key()), part(record.payload())));
            }
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => panic!("{topic}: {error}"),
        }
    }
    records
}
