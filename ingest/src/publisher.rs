//! The producers: idempotent, bounded, and telling of each record where it went.
//!
//! An idempotent client has five requests under way, each of one partition. In a smooth flow over many partitions a record
//! would wait for others' answers, several times over; so there are some clients, each with partitions of its own. In a
//! backlog one alone has larger batches, which cost every machine less. A partition changes its client only while nothing of
//! it is under way: so its order holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::polled::PolledProducer;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::topics;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::mpsc;

/// What a client puts into one batch by itself.
const BATCH_BYTES_DEFAULT: usize = 1_000_000;
/// Clients, each with five requests under way: with the usual sixteen partitions none waits for another.
const CLIENTS: usize = 4;
/// What those beside the first one hold.
const QUEUE_KBYTES_BESIDE: &str = "8192";
/// Partitions that are told apart; beyond it, two of them go together.
const PLACES: usize = 256;

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

/// How many records are under way to partitions of one number.
type UnderWay = Arc<[AtomicUsize]>;

/// A record that a client has.
struct Sent {
    purpose: Purpose,
    place: usize,
}

struct Context {
    deliveries: mpsc::UnboundedSender<Delivery>,
    under_way: UnderWay,
}

impl ClientContext for Context {}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Self::DeliveryOpaque) {
        let place = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        let is_there = place.is_ok();
        // The receiver is gone only when ingest is ending.
        let _ = self.deliveries.send(Delivery { purpose: sent.purpose, place });
        // Only now, so that reports of a partition come in its order whoever has the next record. What was refused ends the
        // session: until then nothing may overtake it through another client.
        if is_there {
            self.under_way[sent.place].fetch_sub(1, Ordering::Release);
        }
    }
}

/// The clients, and what they report. The reports are as many as their queues allow.
pub(crate) struct Publisher {
    producers: Vec<PolledProducer<Context>>,
    under_way: UnderWay,
    /// Who has the partitions of a number.
    client_of: Vec<usize>,
    /// The topic that Kafka is asked about, to hear whether it answers.
    progress: Arc<str>,
    is_live: bool,
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
        let progress: Arc<str> = topics::PROGRESS.name(kafka).into();
        let mut config = topics::producer(kafka, "ingest");
        if let Some(bytes) = batch_bytes_max.filter(|bytes| *bytes < BATCH_BYTES_DEFAULT) {
            config.set("batch.size", bytes.to_string());
        }
        let under_way: UnderWay = (0..PLACES).map(|_| AtomicUsize::new(0)).collect();
        let mut producers = Vec::with_capacity(CLIENTS);
        for _ in 0..CLIENTS {
            let context = Context { deliveries: deliveries.clone(), under_way: under_way.clone() };
            producers.push(PolledProducer::open(&config, context)?);
            config.set("queue.buffering.max.kbytes", QUEUE_KBYTES_BESIDE);
        }
        Ok((Publisher { producers, under_way, client_of: vec![0; PLACES], progress, is_live: false }, reports))
    }

    /// Whether what comes now has just been committed, or is part of a backlog.
    pub fn set_live(&mut self, is_live: bool) {
        self.is_live = is_live;
    }

    /// Hands a record to a client. `Ok(false)`: its queue is full; some report must come first.
    pub fn send(&mut self, record: &Record<'_>) -> Result<bool, KafkaError> {
        let place = usize::try_from(record.partition).unwrap_or(0) % PLACES;
        let under_way = &self.under_way[place];
        if under_way.load(Ordering::Acquire) == 0 {
            self.client_of[place] = if self.is_live { place % CLIENTS } else { 0 };
        }
        let sent = Box::new(Sent { purpose: record.purpose.clone(), place });
        let mut base = BaseRecord::with_opaque_to(record.topic, sent).partition(record.partition);
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
        // Before it is sent: its report may be quicker than we are.
        under_way.fetch_add(1, Ordering::Relaxed);
        let Err((error, _)) = self.producers[self.client_of[place]].client().send(base) else { return Ok(true) };
        under_way.fetch_sub(1, Ordering::Relaxed);
        match error {
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => Ok(false),
            error => Err(error),
        }
    }

    /// Asks Kafka through every client: one of them that has nobody to ask answers for all.
    pub fn asker(&self) -> impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + use<> {
        let clients: Vec<Arc<BaseProducer<Context>>> = self.producers.iter().map(|one| one.client().clone()).collect();
        let progress = Arc::clone(&self.progress);
        move |wait_max| {
            let ask = |client: &Arc<BaseProducer<Context>>| client.client().fetch_metadata(Some(&progress), wait_max);
            worst_of(&clients, ask, |metadata| !metadata.brokers().is_empty())
        }
    }

    /// Asks one of its clients for all topics that there are.
    pub fn topics_asker(&self) -> impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + use<> {
        let client = self.producers.first().map(|producer| producer.client().clone());
        move |wait_max| {
            let client = client.as_ref().ok_or(KafkaError::Canceled)?;
            client.client().fetch_metadata(None, wait_max)
        }
    }

    /// Waits, at the end, until nothing is under way.
    pub fn flush(&self, wait_max: Duration) {
        let deadline = Instant::now() + wait_max;
        for producer in &self.producers {
            if let Err(error) = producer.client().flush(deadline.saturating_duration_since(Instant::now())) {
                tracing::warn!(%error, "records were still under way at the end; they will be published again");
            }
        }
    }
}

/// The first answer that is none, or the last one.
fn worst_of<C, T>(
    clients: &[C],
    ask: impl Fn(&C) -> Result<T, KafkaError>,
    is_answer: impl Fn(&T) -> bool,
) -> Result<T, KafkaError> {
    let mut worst = Err(KafkaError::Canceled);
    for client in clients {
        worst = ask(client);
        if !worst.as_ref().is_ok_and(&is_answer) {
            break;
        }
    }
    worst
}

impl Drop for Publisher {
    /// Whoever still asks through the producer would keep it, and what it has to send, alive beyond its session.
    fn drop(&mut self) {
        for producer in &self.producers {
            producer.client().purge(PurgeConfig::default().queue().inflight());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_deaf_client_of_four_answers_for_all() {
        let ask = |brokers: &[usize]| worst_of(brokers, |brokers| Ok(*brokers), |brokers| *brokers > 0);
        assert_eq!(ask(&[1, 1, 1, 1]), Ok(1));
        for deaf in 0..4 {
            let mut brokers = [1; 4];
            brokers[deaf] = 0;
            assert_eq!(ask(&brokers), Ok(0), "client {deaf} has no broker");
            let fails = |client: &usize| if *client == deaf { Err(KafkaError::Canceled) } else { Ok(1) };
            assert_eq!(worst_of(&[0, 1, 2, 3], fails, |_| true), Err(KafkaError::Canceled));
        }
    }
}
