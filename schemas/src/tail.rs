//! Reading a topic of one partition: all that it holds, then what comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::config::KafkaConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::hearing::{self, SILENCE_MAX};
use crate::topics::{self, Topic};

const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
/// What Kafka says of a topic that has no leader yet.
const SETTLES: [RDKafkaErrorCode; 3] =
    [RDKafkaErrorCode::UnknownPartition, RDKafkaErrorCode::NotLeaderForPartition, RDKafkaErrorCode::LeaderNotAvailable];
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(20);
/// For a topic that may not be there at all.
const APPEAR_WAIT_MAX: Duration = Duration::from_secs(3);
const SETTLE_PAUSE: Duration = Duration::from_millis(100);
/// A broker that has nothing new answers a fetch so late; what is new, it sends at once.
const FETCH_WAIT_MS_MAX: &str = "5000";

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At the oldest record.
    Oldest,
    /// At the newest record, where there is one.
    Newest,
    /// Behind the newest record: what comes from now on.
    End,
    /// At so many records before the end, or the oldest where there are fewer.
    Last(i64),
}

impl Begin {
    /// Whether what is read is what the topic holds, and not only what comes.
    pub(crate) fn is_state(self) -> bool {
        matches!(self, Begin::Oldest | Begin::Last(_))
    }
}

/// A reader of one topic of one partition.
pub struct Tail {
    consumer: Arc<StreamConsumer>,
    next: i64,
    end: i64,
}

impl Tail {
    /// Opens the topic; the end is where it ended at that moment.
    pub async fn open(kafka: &KafkaConfig, id: &str, topic: Topic, begin: Begin) -> Result<Self, KafkaError> {
        // It reads one partition and never pauses it, so nothing ever waits for a fetch under way to end.
        let mut config = topics::reader(kafka, id);
        config.set("fetch.wait.max.ms", FETCH_WAIT_MS_MAX);
        let topic = topic.name(kafka);
        let opened = tokio::task::spawn_blocking(move || {
            let consumer: StreamConsumer = config.create()?;
            let (oldest, end) = ends(&consumer, &topic)?;
            let next = next(begin, None, oldest, end);
            let mut place = TopicPartitionList::new();
            place.add_partition_offset(&topic, 0, Offset::Offset(next))?;
            consumer.assign(&place)?;
            Ok(Tail { consumer: Arc::new(consumer), next, end })
        });
        opened.await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// Whether everything that stood there at opening has been read. (Of a compacted topic, the last offsets may hold
    /// no record: [`Tail::next_before_end`] copes with that.)
    pub fn at_end(&self) -> bool {
        self.next >= self.end
    }

    /// The offset of the next record.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// Where the topic ended at opening.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// The next record.
    pub async fn next(&mut self) -> Result<OwnedMessage, KafkaError> {
        let message = self.consumer.recv().await?.detach();
        self.next = rdkafka::Message::offset(&message) + 1;
        Ok(message)
    }

    /// The next record of those that stood there at opening; `None` after the last.
    pub async fn next_before_end(&mut self) -> Result<Option<OwnedMessage>, KafkaError> {
        if self.at_end() {
            return Ok(None);
        }
        loop {
            match tokio::time::timeout(Duration::from_millis(200), self.next()).await {
                Ok(message) => return message.map(Some),
                // The consumer's own place tells when only compacted offsets are left.
                Err(_) if self.place()? >= self.end => {
                    self.next = self.end;
                    return Ok(None);
                }
                Err(_) => {}
            }
        }
    }

    /// The next record, however late; an error where none will ever come again, though Kafka answers.
    pub async fn next_heard(&mut self, kafka: &KafkaConfig) -> Result<OwnedMessage, KafkaError> {
        loop {
            match tokio::time::timeout(SILENCE_MAX, self.next()).await {
                Ok(message) => return message,
                Err(_) if is_deaf(kafka, &self.consumer).await => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown));
                }
                Err(_) => {}
            }
        }
    }

    fn place(&self) -> Result<i64, KafkaError> {
        let place = self.consumer.position()?;
        let offset = place.elements().first().map(|element| element.offset());
        Ok(if let Some(Offset::Offset(offset)) = offset { offset } else { self.next })
    }
}

/// Whether nothing will ever come to a client again, though Kafka answers.
pub(crate) async fn is_deaf(kafka: &KafkaConfig, consumer: &Arc<StreamConsumer>) -> bool {
    let (consumer, progress) = (Arc::clone(consumer), topics::PROGRESS.name(kafka));
    hearing::is_deaf(kafka, move |wait_max| consumer.fetch_metadata(Some(&progress), wait_max)).await
}

/// Where to read, in a topic from `oldest` to `end`. Pure.
pub(crate) fn next(begin: Begin, place: Option<i64>, oldest: i64, end: i64) -> i64 {
    match (begin, place) {
        // A place beyond the end is of a topic that was there before.
        (_, Some(place)) if place <= end => place.max(oldest),
        (Begin::Oldest, _) => oldest,
        (Begin::Last(records), _) => end.saturating_sub(records).max(oldest),
        (Begin::Newest, _) => (end - 1).max(oldest),
        (Begin::End, _) => end,
    }
}

/// The oldest offset, and the end, where the topic can be read now. It blocks.
pub(crate) fn ends_now(consumer: &StreamConsumer, topic: &str, wait_max: Duration) -> Result<(i64, i64), KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), wait_max)?;
    let error = match metadata.topics().first() {
        Some(topic) if !topic.partitions().is_empty() => None,
        Some(topic) => topic.error().map(RDKafkaErrorCode::from),
        None => None,
    };
    match error {
        Some(code) => Err(KafkaError::MetadataFetch(code)),
        None => consumer.fetch_watermarks(topic, 0, wait_max),
    }
}

/// The oldest offset, and the end. A topic that has just been made has no leader for a moment, nor has any where the
/// broker stood still for longer than its session, until it is let in again.
#[expect(clippy::disallowed_methods, reason = "it runs on a thread for what blocks, as the client's questions do")]
fn ends(consumer: &StreamConsumer, topic: &str) -> Result<(i64, i64), KafkaError> {
    let began = Instant::now();
    loop {
        let asked = consumer.fetch_watermarks(topic, 0, METADATA_WAIT_MAX);
        let code = asked.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        let wait_max = match code {
            Some(code) if SETTLES.contains(&code) && is_known(consumer, topic) => SETTLE_WAIT_MAX,
            Some(code) if SETTLES.contains(&code) => APPEAR_WAIT_MAX,
            _ => return asked,
        };
        if began.elapsed() > wait_max {
            return asked;
        }
        std::thread::sleep(SETTLE_PAUSE);
    }
}

/// Whether somebody leads a topic. It blocks.
pub(crate) fn is_led(consumer: &StreamConsumer, topic: &str) -> bool {
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_WAIT_MAX);
    metadata.is_ok_and(|metadata| {
        metadata.topics().iter().any(|topic| topic.partitions().iter().any(|partition| partition.leader() >= 0))
    })
}

/// Whether Kafka has the topic, or is in no state to say.
fn is_known(consumer: &StreamConsumer, topic: &str) -> bool {
    let metadata = consumer.fetch_metadata(Some(topic), METADATA_WAIT_MAX);
    metadata.map_or(true, |metadata| {
        metadata.brokers().is_empty() || metadata.topics().iter().any(|topic| !topic.partitions().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_where_it_stood() {
        for (begin, place, expected) in [
            (Begin::Oldest, None, 3),
            (Begin::Last(2), None, 7),
            (Begin::Last(100), None, 3),
            (Begin::Newest, None, 8),
            (Begin::End, None, 9),
            (Begin::End, Some(5), 5),
            (Begin::Newest, Some(9), 9),
            (Begin::End, Some(1), 3),
            (Begin::Newest, Some(20), 8),
            (Begin::End, Some(20), 9),
        ] {
            assert_eq!(next(begin, place, 3, 9), expected, "{begin:?} {place:?}");
        }
        assert_eq!(next(Begin::Newest, None, 0, 0), 0, "an empty topic");
    }
}
