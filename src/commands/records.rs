//! Ranges of the log, read beside everything else: with an assignment of our own, so that no group that works is touched.

use std::collections::HashMap;
use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::DropGuard;

const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
const RECORD_WAIT_MAX: Duration = Duration::from_secs(30);

/// A topic's partition.
pub(crate) type Partition = (String, i32);

/// Records from the first offset, before the second.
pub(crate) type Ranges = HashMap<Partition, (i64, i64)>;

/// One record as it was read.
pub(crate) struct Found {
    pub partition: Partition,
    pub offset: i64,
    pub event: Result<Event, String>,
}

/// A reader of ranges.
pub(crate) struct Records {
    consumer: StreamConsumer,
    reader: RecordReader,
    /// Of each partition, what is left.
    left: Ranges,
    _following: DropGuard,
}

impl Records {
    pub fn open(kafka: &KafkaConfig, id: &str, ranges: &Ranges) -> Result<Self, Failure> {
        let consumer = topics::reader(kafka, id).create().map_err(away)?;
        let following = Shutdown::new();
        let registry = LiveRegistry::follow(&Follower::start(kafka, following.clone()));
        let reader = RecordReader::new(registry);
        let mut records = Records { consumer, reader, left: HashMap::new(), _following: following.drop_guard() };
        records.turn_to(ranges)?;
        Ok(records)
    }

    /// Other ranges, from now on; what is known of schemas is kept.
    pub fn turn_to(&mut self, ranges: &Ranges) -> Result<(), Failure> {
        let ranges = || ranges.iter().filter(|(_, (from, to))| from < to);
        let mut places = TopicPartitionList::new();
        for ((topic, partition), (from, _)) in ranges() {
            places.add_partition_offset(topic, *partition, Offset::Offset(*from)).map_err(away)?;
        }
        self.consumer.assign(&places).map_err(away)?;
        self.left = ranges().map(|(partition, range)| (partition.clone(), *range)).collect();
        Ok(())
    }

    /// The next record of any of the ranges; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Found>, Failure> {
        while !self.left.is_empty() {
            let silent = |_| Failure::unavailable(format!("Kafka has given no record for {RECORD_WAIT_MAX:?}"));
            let message = tokio::time::timeout(RECORD_WAIT_MAX, self.consumer.recv()).await.map_err(silent)?;
            let message = message.map_err(away)?;
            let (partition, offset) = ((message.topic().to_owned(), message.partition()), message.offset());
            let Some((from, to)) = self.left.get(&partition) else { continue };
            // What comes of an earlier assignment is not meant.
            let is_within = (*from..*to).contains(&offset);
            if offset + 1 >= *to {
                self.left.remove(&partition);
            }
            if is_within {
                let event = self.reader.read(&RawRecord::of(&message)).await;
                return Ok(Some(Found { partition, offset, event }));
            }
        }
        Ok(None)
    }
}

/// The oldest and the end offset of each partition.
pub(crate) async fn ends(kafka: &KafkaConfig, id: &str, partitions: Vec<Partition>) -> Result<Ranges, Failure> {
    let config = topics::reader(kafka, id);
    blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let bounds = |(topic, partition): Partition| {
            let ends = consumer.fetch_watermarks(&topic, partition, METADATA_WAIT_MAX)?;
            Ok(((topic, partition), ends))
        };
        partitions.into_iter().map(bounds).collect()
    })
    .await
}

/// Of each partition, the first offset written at or after a time; its end, where there is none.
pub(crate) async fn offsets_at(
    kafka: &KafkaConfig,
    id: &str,
    partitions: &[Partition],
    time_ms: i64,
) -> Result<HashMap<Partition, Option<i64>>, Failure> {
    let config = topics::reader(kafka, id);
    let partitions = partitions.to_vec();
    blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        let mut asked = TopicPartitionList::new();
        for (topic, partition) in &partitions {
            asked.add_partition_offset(topic, *partition, Offset::Offset(time_ms))?;
        }
        let found = consumer.offsets_for_times(asked, METADATA_WAIT_MAX)?;
        let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
        let elements = found.elements();
        Ok(elements.iter().map(|one| ((one.topic().to_owned(), one.partition()), offset(one.offset()))).collect())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, Failure> {
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|_| Failure::internal("asking Kafka panicked"))?;
    asked.map_err(away)
}

fn away(error: KafkaError) -> Failure {
    Failure::unavailable("the log can't be read")
        .because(error)
        .remedy("check that Kafka runs, and that ingest has created the topics")
}
