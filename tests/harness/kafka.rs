//! What lies in a topic.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How many records of a topic hold these bytes, of all that are in it now; and how many there are.
pub fn holding(brokers: &str, topic: &str, bytes: &str) -> (usize, usize) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", brokers).set("group.id", "test-holding").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = settings.create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_LIMIT).expect("the topic's metadata");
    let (mut list, mut left) = (TopicPartitionList::new(), 0);
    for partition in metadata.topics()[0].partitions() {
        let (begin, end) = consumer.fetch_watermarks(topic, partition.id(), ANSWER_LIMIT).expect("its ends");
        list.add_partition_offset(topic, partition.id(), Offset::Beginning).expect("a partition");
        left += end - begin;
    }
    consumer.assign(&list).expect("an assignment");
    let (mut found, mut looked) = (0, 0);
    while i64::try_from(looked).is_ok_and(|looked| looked < left) {
        let record = consumer.poll(ANSWER_LIMIT).expect("a record in time").expect("a record");
        let holds =
            |part: Option<&[u8]>| part.is_some_and(|part| part.windows(bytes.len()).any(|w| w == bytes.as_bytes()));
        found += usize::from(holds(record.key()) || holds(record.payload()));
        looked += 1;
    }
    (found, looked)
}
