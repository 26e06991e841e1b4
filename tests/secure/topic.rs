//! A group's topic, read by the broker's open listener.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

const LOOK_LIMIT: Duration = Duration::from_millis(100);

/// Waits until a record's value holds this text. (Avro writes a text as it is.)
pub fn wait_for(brokers: &str, topic: &str, text: &str, limit: Duration) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "a-test");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, 0, Offset::Beginning).expect("a place");
    consumer.assign(&place).expect("an assignment");
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let Some(Ok(message)) = consumer.poll(LOOK_LIMIT) else { continue };
        let value = message.payload().unwrap_or_default();
        if value.windows(text.len()).any(|part| part == text.as_bytes()) {
            return;
        }
    }
    panic!("waited {limit:?} for {text} in {topic}");
}
