//! Up to where of the scores a word has been parked of all that could not be used: as a committed offset, so that a restart,
//! which reads the same records again, says nothing twice. It lives in Kafka as long as the scores do, a week.

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::topics;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// The client's id; the group is the prefix and this.
const ID: &str = "warmer-refused";

/// The place, in Kafka. It is seldom asked for: each time through a client of its own.
pub(crate) struct Told(KafkaConfig);

impl Told {
    pub fn new(kafka: &KafkaConfig) -> Self {
        Told(kafka.clone())
    }

    /// The offset before which all has been said; 0 where nothing has.
    pub async fn before(&self) -> Result<i64, KafkaError> {
        let config = topics::reader(&self.0, ID);
        let ask = move || {
            let consumer: BaseConsumer = config.create()?;
            let mut list = TopicPartitionList::new();
            list.add_partition(topics::SCORES.base_name(), 0);
            let told = consumer.committed_offsets(list, ANSWER_WAIT_MAX)?;
            let offset = told.elements().first().map(|element| element.offset());
            Ok(if let Some(Offset::Offset(next)) = offset { next } else { 0 })
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Err(KafkaError::Canceled))
    }

    /// All before that offset has been said. What Kafka does not take is said once more after a restart.
    pub async fn tell(&self, next: i64) {
        let config = topics::reader(&self.0, ID);
        let tell = move || {
            let consumer: BaseConsumer = config.create()?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topics::SCORES.base_name(), 0, Offset::Offset(next))?;
            consumer.commit(&list, CommitMode::Sync)
        };
        let told = tokio::time::timeout(ANSWER_WAIT_MAX, tokio::task::spawn_blocking(tell)).await;
        let told = told.map_or(Err(KafkaError::Canceled), |told| told.unwrap_or(Err(KafkaError::Canceled)));
        if let Err(error) = told {
            tracing::debug!(%error, "Kafka was not told up to where refused scores were parked");
        }
    }
}
