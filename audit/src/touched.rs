//! What touched an entity last: the newest change of it in its partition, looked for backward within a bound.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::change::Change;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::partition::partition_of;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Receiver;

use crate::findings::Violation;
use crate::shared::Shared;

/// Older records are not looked at.
const RECORDS_MAX: i64 = 20_000;
const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);
const RECORD_WAIT_MAX: Duration = Duration::from_secs(5);

/// Wrong copies of which that is to be looked for; of more at once it stays unknown.
pub(crate) const WAITING_MAX: usize = 10;
/// Each takes a walk backward through the log.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// A change, as evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    /// Debezium's letter of what happened.
    pub op: String,
    /// `schema.table`.
    pub table: String,
    /// Where it stands in the database's history.
    pub position: String,
    /// When the server committed it, microseconds since 1970.
    pub committed_at: i64,
    /// The record's offset in its partition.
    pub offset: i64,
}

impl Touch {
    /// A change of the log, with its record's offset.
    pub fn of(offset: i64, change: &Change) -> Self {
        Touch {
            op: change.op.letter().to_owned(),
            table: change.table.to_string(),
            position: change.position.to_string(),
            committed_at: change.committed_at,
            offset,
        }
    }
}

impl std::fmt::Display for Touch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Touch { op, table, position, offset, .. } = self;
        write!(f, "last touched by {op} {table} at {position}, offset {offset}")
    }
}

/// Notes what touched the entities of wrong copies last, one after the other, until shutdown.
pub(crate) async fn note(shared: Arc<Shared>, kafka: KafkaConfig, mut wrong: Receiver<Violation>, shutdown: Shutdown) {
    let policy = &shared.auditor.policy;
    loop {
        let violation = tokio::select! {
            violation = wrong.recv() => violation,
            () = shutdown.cancelled() => return,
        };
        let Some(violation) = violation else { return };
        let Some(view) = policy.views.get(&*violation.view) else { continue };
        let (entity, partitions) = (violation.entity.as_str(), shared.auditor.names.partitions());
        let looked = tokio::select! {
            looked = find(&kafka, policy, &view.group, partition_of(entity, partitions), entity) => looked,
            () = shutdown.cancelled() => return,
        };
        match looked.map(|last| last.change) {
            Ok(Some((offset, change))) => {
                shared.with_notes(|notes| notes.touched(&violation, Touch::of(offset, &change)));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "what touched a wrong copy last can't be looked for"),
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// What was found of an entity.
pub struct Last {
    /// Its newest change, with the record's offset.
    pub change: Option<(i64, Box<Change>)>,
    /// How many records were looked at.
    pub looked: i64,
}

/// Looks for the newest change of an entity.
pub async fn find(
    kafka: &KafkaConfig,
    policy: &Policy,
    group: &str,
    partition: u32,
    entity: &str,
) -> Result<Last, Failure> {
    let config = topics::reader(kafka, "why");
    let (topic, partition) = (topics::of_group(kafka, group), partition as i32);
    let read = tokio::task::spawn_blocking(move || newest(&config.create()?, &topic, partition)).await;
    let read = read.map_err(|_| Failure::internal("reading Kafka panicked"))?;
    let records = read.map_err(|error| Failure::unavailable("the log can't be read").because(error))?;
    let shutdown = Shutdown::new();
    let mut reader = RecordReader::new(LiveRegistry::follow(&Follower::start(kafka, shutdown.clone())));
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
