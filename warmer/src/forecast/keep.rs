//! Keeps the state in its topic: one transaction a round, one writer at a time.

use std::collections::BTreeMap;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::sole_writer::SoleWriter;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::online::Forecast;
use super::state::{self, Place, StateRecord};

/// Whoever begins with this name shuts out all who began before.
const WRITER: &str = "forecast";

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
    writer: SoleWriter,
}

impl Keep {
    /// Becomes the one writer: what an older one has not committed is undone.
    pub async fn open(kafka: &KafkaConfig) -> Result<Self, KeepError> {
        Ok(Keep { writer: SoleWriter::open(kafka, "forecast-state", WRITER).await? })
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
        let records: Vec<_> = records.iter().map(|record| (&record.key[..], record.value.as_deref())).collect();
        Ok(self.writer.write(topics::FORECAST, &records).await?)
    }
}
