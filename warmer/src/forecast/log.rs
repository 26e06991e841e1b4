//! The order lines, from every partition of the group: where each begins, and what has been counted of it.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::change::{Change, Op};
use lockstep_schemas::column::instant_micros;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::hour::Hour;
use super::state::Place;

const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
pub(crate) const SALES: &str = "sales";
const LINES: &str = "public.order_lines";

/// A line that was sold.
pub(crate) struct Line {
    pub product: String,
    pub hour: Hour,
    /// When it was committed, microseconds since 1970.
    pub committed_at: i64,
}

/// The group's topic, being read.
pub(crate) struct Log {
    consumer: Arc<StreamConsumer>,
    reader: RecordReader,
    places: Vec<Place>,
    /// Where each partition ended when that was last asked.
    ends: Vec<i64>,
    topic: String,
    progress: String,
}

impl Log {
    /// Goes on from the places, as a client of this id; without them, at the oldest records.
    pub async fn open(
        kafka: &KafkaConfig,
        id: &str,
        partitions: u32,
        mut places: Vec<Place>,
        registry: LiveRegistry,
    ) -> Result<Self, KafkaError> {
        let mut config = topics::reader(kafka, id);
        // Nobody waits for a line: a fetch at each of them would cost the broker as much as the engine's do.
        config.set("fetch.min.bytes", "65536").set("fetch.wait.max.ms", "1500");
        let (topic, progress) = (topics::of_group(kafka, SALES), topics::PROGRESS.name(kafka));
        places.resize(partitions as usize, Place::default());
        let open = move || {
            let consumer: StreamConsumer = config.create()?;
            let mut ends = Vec::with_capacity(places.len());
            let mut list = TopicPartitionList::new();
            for (partition, place) in (0..).zip(&mut places) {
                let (oldest, end) = consumer.fetch_watermarks(&topic, partition, METADATA_WAIT_MAX)?;
                place.next = begin(partition, place.next, oldest, end);
                ends.push(end);
                list.add_partition_offset(&topic, partition, Offset::Offset(place.next))?;
            }
            consumer.assign(&list)?;
            Ok(Log { consumer: Arc::new(consumer), reader: RecordReader::new(registry), places, ends, topic, progress })
        };
        tokio::task::spawn_blocking(open).await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// The next record, of any partition; `None` where there will be one later. May be dropped at any time.
    pub async fn recv(&self) -> Result<Option<OwnedMessage>, KafkaError> {
        match self.consumer.recv().await {
            Ok(message) => Ok(Some(message.detach())),
            // The place is no longer in the log, or the log is another one.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "reading order lines");
                Ok(None)
            }
        }
    }

    /// Asks Kafka through this client.
    pub fn asker(&self) -> impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + use<> {
        let (consumer, progress) = (Arc::clone(&self.consumer), self.progress.clone());
        move |wait_max| consumer.fetch_metadata(Some(&progress), wait_max)
    }

    /// The line that a record tells of, where it tells of one that has not been counted.
    pub async fn line(&mut self, record: Option<OwnedMessage>) -> Option<Line> {
        let record = record?;
        let raw = RawRecord::of(&record);
        let read = self.reader.read(&raw).await;
        let place = self.places.get_mut(usize::try_from(record.partition()).ok()?)?;
        place.next = record.offset() + 1;
        match read {
            Ok(Event::Change(change)) => {
                // After a restart of ingest the end of the log may come once more.
                if place.newest.is_some_and(|newest| change.position <= newest) {
                    return None;
                }
                place.newest = Some(change.position);
                line_of(&change, raw.published_at)
            }
            Ok(_) => None,
            Err(why) => {
                tracing::warn!(offset = record.offset(), %why, "an order line that can't be read was passed over");
                None
            }
        }
    }

    /// Asks where each partition ends now, in one question.
    pub async fn ask_ends(&mut self) -> Result<(), KafkaError> {
        let (consumer, topic, partitions) = (Arc::clone(&self.consumer), self.topic.clone(), self.places.len());
        let ask = move || {
            let mut list = TopicPartitionList::new();
            for partition in (0..).take(partitions) {
                list.add_partition_offset(&topic, partition, Offset::End)?;
            }
            consumer.offsets_for_times(list, METADATA_WAIT_MAX)
        };
        let answer = tokio::task::spawn_blocking(ask).await.unwrap_or(Err(KafkaError::Canceled))?;
        for element in answer.elements() {
            element.error()?;
            let end = usize::try_from(element.partition()).ok().and_then(|at| self.ends.get_mut(at));
            if let (Some(end), Offset::Offset(offset)) = (end, element.offset()) {
                *end = offset;
            }
        }
        Ok(())
    }

    /// Whether all has been read that stood there when that was last asked.
    pub fn caught_up(&self) -> bool {
        let reached = |at: usize| self.places[at].next >= self.ends[at];
        (0..self.ends.len()).all(reached) || self.consumed()
    }

    /// Records between here and where the log ended when that was last asked.
    pub fn left(&self) -> i64 {
        self.places.iter().zip(&self.ends).map(|(place, end)| (end - place.next).max(0)).sum()
    }

    /// How far each partition has been counted.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The client's own places tell it where the last offsets hold no record: the markers of another writer's transactions.
    fn consumed(&self) -> bool {
        let Ok(list) = self.consumer.position() else { return false };
        list.elements().iter().all(|element| {
            let end = usize::try_from(element.partition()).ok().and_then(|at| self.ends.get(at).copied());
            let next =
                usize::try_from(element.partition()).ok().and_then(|at| self.places.get(at)).map(|place| place.next);
            match element.offset() {
                Offset::Offset(offset) => Some(offset) >= end,
                // Nothing came yet: the end is where it began, or not reached.
                _ => next >= end,
            }
        })
    }
}

/// Where to begin in a partition that holds offsets from `oldest` to before `end`.
fn begin(partition: i32, next: i64, oldest: i64, end: i64) -> i64 {
    if next > end {
        tracing::warn!(
            partition,
            next,
            end,
            "the log ends before what was counted: it is another one, and read from its oldest record"
        );
        return oldest;
    }
    if next < oldest && next > 0 {
        tracing::warn!(partition, next, oldest, "the log no longer holds all lines since the forecast last ran");
    }
    next.max(oldest)
}

fn line_of(change: &Change, published_at: Option<i64>) -> Option<Line> {
    // What was ordered was asked for, also where the order is changed or deleted later.
    if change.op != Op::Insert || &*change.table != LINES {
        return None;
    }
    let row = change.row()?;
    let placed_at = instant_micros(row.text("placed_at")?)?;
    // A line from the future would make all others look old.
    let now = now_micros();
    // Another writer of envelopes may leave the time of the commit out.
    let committed_at = Some(change.committed_at).filter(|at| *at > 0).or(published_at).unwrap_or(now);
    let hour = Hour::of_micros(placed_at.min(now));
    Some(Line { product: row.text("product_id")?.to_owned(), hour, committed_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_partition_begins() {
        assert_eq!(begin(0, 0, 0, 0), 0, "nothing yet");
        assert_eq!(begin(0, 0, 7, 9), 7, "a first start");
        assert_eq!(begin(0, 8, 7, 9), 8, "where it stopped");
        assert_eq!(begin(0, 3, 7, 9), 7, "the log was cut");
        assert_eq!(begin(0, 12, 0, 9), 0, "another log");
    }
}
