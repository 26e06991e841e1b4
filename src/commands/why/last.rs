//! What touched an entity last: the newest change of it in its partition, looked for backward within a bound.

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::change::Change;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::topics;
use lockstep_tiers::Place;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Older records are not looked at.
const RECORDS_MAX: i64 = 20_000;
const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);
const RECORD_WAIT_MAX: Duration = Duration::from_secs(5);

/// What was found of an entity.
pub(in crate::commands) struct Last {
    /// Its newest change, with the record's offset.
    pub change: Option<(i64, Box<Change>)>,
    /// How many records were looked at.
    pub looked: i64,
}

pub(in crate::commands) async fn find(
    kafka: &KafkaConfig,
    policy: &Policy,
    place: &Place,
    entity: &str,
) -> Result<Last, Failure> {
    let config = topics::reader(kafka, "why");
    let (topic, partition) = (topics::of_group(&place.group), place.partition as i32);
    let read = tokio::task::spawn_blocking(move || newest(&config.create()?, &topic, partition)).await;
    let read = read.map_err(|_| Failure::internal("reading Kafka panicked"))?;
    let records = read.map_err(|error| Failure::unavailable("the log can't be read").because(error))?;
    let shutdown = Shutdown::new();
    let mut reader = RecordReader::new(LiveRegistry::follow(kafka.clone(), shutdown.clone()));
    let looked = records.len() as i64;
    let mut change = None;
    for record in records.iter().rev() {
        // One that can't be read is of nobody whom we know.
        let Ok(Event::Change(found)) = reader.read(record).await else { continue };
        let group = policy.group_of(&found.table);
        if group.is_some_and(|group| found.row().and_then(|row| group.entity(row)) == Some(entity)) {
            change = Some((record.offset, found));
            break;
        }
    }
    shutdown.cancel();
    Ok(Last { change, looked })
}

fn newest(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<Vec<RawRecord>, KafkaError> {
    let (oldest, end) = consumer.fetch_watermarks(topic, partition, METADATA_WAIT_MAX)?;
    let from = (end - RECORDS_MAX).max(oldest);
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, partition, Offset::Offset(from))?;
    consumer.assign(&place)?;
    let mut records = Vec::new();
    let mut next = from;
    while next < end {
        let Some(message) = consumer.poll(RECORD_WAIT_MAX) else { break };
        let message = message?;
        next = message.offset() + 1;
        records.push(RawRecord::of(&message));
    }
    Ok(records)
}
