//! The one writer of a topic of state: whoever begins under a name shuts out all who began before.

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use crate::polled::{self, Answers, PolledProducer};
use crate::topics::{self, Topic};

const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Records that are under way at once: some megabytes at most.
const RECORDS_AT_ONCE: usize = 1_000;

/// A writer whose records count all together, or not at all.
pub struct SoleWriter {
    kafka: KafkaConfig,
    producer: PolledProducer<Answers>,
}

impl SoleWriter {
    /// Becomes the installation's one writer under `name`: what an older one has not committed is undone, and what it tries
    /// from now on is refused. So what the topic holds after this, it holds for good: read it then, not before.
    pub async fn open(kafka: &KafkaConfig, id: &str, name: &str) -> Result<Self, KafkaError> {
        let mut config = topics::producer(kafka, id);
        config
            .set("transactional.id", topics::own_name(kafka, name))
            .set("message.timeout.ms", WRITE_WAIT_MAX.as_millis().to_string());
        let kafka = kafka.clone();
        let open = move || {
            let producer = PolledProducer::open(&config, Answers)?;
            producer.client().init_transactions(WRITE_WAIT_MAX)?;
            Ok(SoleWriter { kafka, producer })
        };
        blocking(open).await
    }

    /// Writes records, each a key and a value or a tombstone; Kafka has all of them when this returns. After an error the
    /// writer is of no more use.
    pub async fn write(&self, topic: Topic, records: &[(&[u8], Option<&[u8]>)]) -> Result<(), KafkaError> {
        let (topic, producer) = (topic.name(&self.kafka), self.producer.client().clone());
        blocking(move || producer.begin_transaction()).await?;
        for some in records.chunks(RECORDS_AT_ONCE) {
            let mut sent = Vec::with_capacity(some.len());
            for (key, value) in some {
                sent.push(polled::send(self.producer.client(), &topic, key, *value)?);
            }
            for answer in sent {
                polled::answered(answer).await?;
            }
        }
        let producer = self.producer.client().clone();
        blocking(move || producer.commit_transaction(WRITE_WAIT_MAX)).await
    }
}

/// The client's transactions block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KafkaError::Canceled))
}
