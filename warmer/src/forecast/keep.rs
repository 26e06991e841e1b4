//! Keeps the state in its topic: one transaction a round, one writer at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

use super::online::Forecast;
use super::state::{self, Place, StateRecord};

/// Whoever begins with this name shuts out all who began before.
const WRITER: &str = "lockstep-forecast";
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Records that are under way at once: some megabytes at most.
const RECORDS_AT_ONCE: usize = 1_000;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// Another forecast has begun after us.
    #[error("another forecast writes the state")]
    Fenced,
    /// The reader of order lines will get no answer any more.
    #[error("Kafka's client has lost its brokers for good, though they answer")]
    Deaf,
    /// The broker, or the way to it.
    #[error(transparent)]
    Kafka(KafkaError),
}

impl From<KafkaError> for KeepError {
    fn from(error: KafkaError) -> Self {
        let of_transaction = match &error {
            KafkaError::Transaction(error) => error.code(),
            _ => RDKafkaErrorCode::NoError,
        };
        let code = error.rdkafka_error_code().unwrap_or(of_transaction);
        let fenced =
            [RDKafkaErrorCode::Fenced, RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::InvalidProducerEpoch];
        if fenced.contains(&code) || fenced.contains(&of_transaction) {
            KeepError::Fenced
        } else {
            KeepError::Kafka(error)
        }
    }
}

/// The writer.
pub(super) struct Keep {
    producer: FutureProducer,
}

impl Keep {
    /// Becomes the one writer: what an older one has not committed is undone.
    pub async fn open(kafka: &KafkaConfig) -> Result<Self, KeepError> {
        let mut config = topics::producer(kafka, "forecast-state");
        config.set("transactional.id", WRITER).set("message.timeout.ms", "30000");
        let open = move || {
            let producer: FutureProducer = config.create()?;
            producer.init_transactions(WRITE_WAIT_MAX)?;
            Ok(Keep { producer })
        };
        Ok(blocking(open).await?)
    }

    /// The state as it was kept. One that can't be read is left behind: the log teaches most of it again.
    pub async fn load(&self, kafka: &KafkaConfig, size: usize) -> Result<(Forecast, Vec<Place>), KeepError> {
        let mut tail = Tail::open(kafka, "forecast-state", topics::FORECAST, Begin::Oldest).await?;
        let mut records = BTreeMap::new();
        while let Some(message) = tail.next_before_end().await? {
            let key = message.key().unwrap_or_default().to_vec();
            match message.payload() {
                Some(value) => drop(records.insert(key, value.to_vec())),
                None => drop(records.remove(&key)),
            }
        }
        let restored = state::restore(&records, size).unwrap_or_else(|why| {
            tracing::warn!(%why, "the forecast's state can't be gone on with: it learns anew from the log");
            None
        });
        Ok(restored.unwrap_or_else(|| (Forecast::new(&[size]), Vec::new())))
    }

    /// Writes records so that all of them count, or none.
    pub async fn write(&self, records: Vec<StateRecord>) -> Result<(), KeepError> {
        let producer = self.producer.clone();
        blocking(move || producer.begin_transaction()).await?;
        for some in records.chunks(RECORDS_AT_ONCE) {
            self.send(some).await?;
        }
        let producer = self.producer.clone();
        Ok(blocking(move || producer.commit_transaction(WRITE_WAIT_MAX)).await?)
    }

    async fn send(&self, records: &[StateRecord]) -> Result<(), KafkaError> {
        let mut sent = Vec::with_capacity(records.len());
        for StateRecord { key, value } in records {
            let record = FutureRecord::to(topics::FORECAST).partition(0).key(key);
            let record = FutureRecord { payload: value.as_ref(), ..record };
            sent.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in sent {
            delivery.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

/// The client's transactions block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(KafkaError::Canceled))
}
