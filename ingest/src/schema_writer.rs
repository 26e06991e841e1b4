//! The one writer of the topic of schemas.

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::registry::SchemaRecord;
use lockstep_schemas::topics;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

/// Whoever begins under this name shuts out all who began before.
pub(crate) const WRITER: &str = "lockstep-ingest-schemas";
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Gives schemas their ids, each in a transaction. An ingest that was asleep between its look at the slot and its record
/// is refused by Kafka: else it could give out an id that its successor has given to another schema.
pub(crate) struct SchemaWriter {
    producer: FutureProducer,
}

impl SchemaWriter {
    /// Becomes the one writer. What the topic holds from now on, it holds for good: read it after this, not before.
    pub async fn open(kafka: &KafkaConfig) -> Result<Self, KafkaError> {
        let mut config = topics::producer(kafka, "ingest-schemas");
        config.set("transactional.id", WRITER).set("message.timeout.ms", WRITE_WAIT_MAX.as_millis().to_string());
        let open = move || {
            let producer: FutureProducer = config.create()?;
            producer.init_transactions(WRITE_WAIT_MAX)?;
            Ok(SchemaWriter { producer })
        };
        blocking(open).await
    }

    /// Writes a schema; Kafka has it when this returns.
    pub async fn write(&self, record: &SchemaRecord) -> Result<(), KafkaError> {
        let (key, value) = record.to_record();
        let producer = self.producer.clone();
        blocking(move || producer.begin_transaction()).await?;
        let record = FutureRecord::to(topics::SCHEMAS).partition(0).key(&key).payload(&value);
        self.producer.send(record, WRITE_WAIT_MAX).await.map_err(|(error, _)| error)?;
        let producer = self.producer.clone();
        blocking(move || producer.commit_transaction(WRITE_WAIT_MAX)).await
    }
}

/// The client's transactions block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KafkaError::Canceled))
}
