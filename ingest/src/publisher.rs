//! The producer: idempotent, bounded, and telling of each record where it went.

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::topics;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::mpsc;

/// What the client puts into one batch by itself.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;

/// What a record is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A row or control event of a transaction, by the ledger's number; to the n-th group.
    Change { transaction: u64, group: usize },
    /// A word about a row of a transaction, as safe as the row itself.
    Word { transaction: u64 },
    /// A checkpoint of everything before an LSN.
    Checkpoint(Lsn),
    /// Anything else.
    State,
}

/// A record that Kafka has acknowledged, or refused for good.
pub(crate) struct Delivery {
    pub purpose: Purpose,
    /// Partition and offset.
    pub place: Result<(i32, i64), KafkaError>,
}

/// A record to be published.
pub(crate) struct Record<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a [u8])],
    pub purpose: Purpose,
}

struct Context {
    deliveries: mpsc::UnboundedSender<Delivery>,
}

impl ClientContext for Context {}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = Box<Purpose>;

    fn delivery(&self, result: &DeliveryResult<'_>, purpose: Self::DeliveryOpaque) {
        let place = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        // The receiver is gone only when ingest is ending.
        let _ = self.deliveries.send(Delivery { purpose: *purpose, place });
    }
}

/// The producer, and what it reports. The reports are as many as the producer's queue allows.
pub(crate) struct Publisher {
    producer: ThreadedProducer<Context>,
}

impl Publisher {
    /// `batch_bytes_max`: what the topics take at once, where that is known.
    pub fn open(
        kafka: &KafkaConfig,
        batch_bytes_max: Option<usize>,
    ) -> Result<(Self, mpsc::UnboundedReceiver<Delivery>), KafkaError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a delivery callback must not wait; the producer's queue is the bound"
        )]
        let (deliveries, reports) = mpsc::unbounded_channel();
        let mut config = topics::producer(kafka, "ingest");
        if let Some(bytes) = batch_bytes_max.filter(|bytes| *bytes < BATCH_BYTES_DEFAULT) {
            config.set("batch.size", bytes.to_string());
        }
        let producer = config.create_with_context(Context { deliveries })?;
        Ok((Publisher { producer }, reports))
    }

    /// Hands a record to the client. `Ok(false)`: its queue is full; some report must come first.
    pub fn send(&self, record: &Record<'_>) -> Result<bool, KafkaError> {
        let mut base =
            BaseRecord::with_opaque_to(record.topic, Box::new(record.purpose.clone())).partition(record.partition);
        if let Some(key) = record.key {
            base = base.key(key);
        }
        if let Some(value) = record.value {
            base = base.payload(value);
        }
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let insert = |headers: OwnedHeaders, (key, value): &(&str, &[u8])| {
                headers.insert(Header { key, value: Some(*value) })
            };
            base = base.headers(record.headers.iter().fold(headers, insert));
        }
        match self.producer.send(base) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(error),
        }
    }

    /// Asks Kafka through this client.
    pub fn asker(&self) -> impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + use<> {
        let producer = self.producer.clone();
        move |wait_max| producer.client().fetch_metadata(Some(topics::PROGRESS), wait_max)
    }

    /// Waits, at the end, until nothing is under way.
    pub fn flush(&self, wait_max: Duration) {
        if let Err(error) = self.producer.flush(wait_max) {
            tracing::warn!(%error, "records were still under way at the end; they will be published again");
        }
    }
}

impl Drop for Publisher {
    /// Whoever still asks through the producer would keep it, and what it has to send, alive beyond its session.
    fn drop(&mut self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }
}
