//! What the broker itself costs: when each probe's record can be consumed, and how long the same bytes take from a
//! producer like ingest's to a consumer.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, ConfigArgs, KafkaConfig};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::demo::PARTITIONS;
use crate::demo::prober::Latencies;
use crate::demo::prober::latency::Latency;

const REFERENCE: &str = "bench.reference";
const CATALOGUE: &str = "catalogue";
const PROBE: &[u8] = b"probe ";
const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
const LEADER_INTERVAL: Duration = Duration::from_millis(100);

/// What the broker costs.
pub(super) struct BrokerLatencies {
    /// From a probe's commit until its record can be consumed.
    pub commit_to_kafka: Latency,
    /// Of that, until ingest handed it to its producer: whole milliseconds, by the record's own timestamp.
    pub commit_to_ingest: Latency,
    /// From producing the same bytes until they can be consumed.
    pub reference: Latency,
}

/// A watch under way.
pub(super) struct BrokerWatch {
    task: JoinHandle<Result<BrokerLatencies>>,
    stop: CancellationToken,
}

/// Sends to a topic of its own the bytes of each probe, as it is committed.
struct Reference {
    producer: FutureProducer,
    sent: Mutex<HashMap<u64, Instant>>,
    /// A record of the catalogue, as the pattern of those that are sent.
    bytes: OnceLock<Vec<u8>>,
}

impl Reference {
    /// A probe was committed: its bytes set out at the very moment at which ingest may first see them. Records that were sent
    /// on as they arrive come in bursts, fill a request with several, and pass for a quicker broker than smooth ones find.
    fn committed(&self, number: u64) -> Result<()> {
        let Some(pattern) = self.bytes.get() else { return Ok(()) };
        let Some(at) = probe_at(pattern) else { return Ok(()) };
        let digits = pattern[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let record = [&pattern[..at], number.to_string().as_bytes(), &pattern[at + digits..]].concat();
        self.send(number, (number % PARTITIONS as u64) as i32, &record)
    }

    fn send(&self, number: u64, partition: i32, bytes: &[u8]) -> Result<()> {
        let record = FutureRecord::<(), _>::to(REFERENCE).partition(partition).payload(bytes);
        self.sent().insert(number, Instant::now());
        // Its delivery is seen by consuming it.
        drop(self.producer.send_result(record).map_err(|(error, _)| error)?);
        Ok(())
    }

    fn sent(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BrokerWatch {
    /// Reads the catalogue's topic from its end on, and a topic of its own that is cut alike: a producer sends a request
    /// for each partition, so one partition alone would batch what many can't.
    ///
    /// What begins before the latencies count is left out here too: a broker that has just started is slow for some seconds.
    pub async fn start(brokers: &str, latencies: Arc<Latencies>) -> Result<Self> {
        let args = ConfigArgs { kafka_brokers: Some(brokers.to_owned()), ..ConfigArgs::default() };
        let kafka = Config::load(&args)?.kafka()?.clone();
        create_topic(&kafka).await?;
        let catalogue = consumer(&kafka, &topics::of_group(&kafka, CATALOGUE), PARTITIONS as i32).await?;
        let back = consumer(&kafka, REFERENCE, PARTITIONS as i32).await?;
        let producer: FutureProducer = topics::producer(&kafka, "bench").create()?;
        let reference = Arc::new(Reference { producer, sent: Mutex::default(), bytes: OnceLock::new() });
        let sender = Arc::clone(&reference);
        let listens = latencies.listener.set(Box::new(move |number| sender.committed(number)));
        anyhow::ensure!(listens.is_ok(), "two brokers can't be watched at once");
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch(catalogue, back, reference, latencies, stop.clone()));
        Ok(BrokerWatch { task, stop })
    }

    /// Ends it.
    pub async fn stop(self) -> Result<BrokerLatencies> {
        self.stop.cancel();
        self.task.await.context("the watch panicked")?
    }
}

async fn watch(
    catalogue: StreamConsumer,
    back: StreamConsumer,
    reference: Arc<Reference>,
    latencies: Arc<Latencies>,
    stop: CancellationToken,
) -> Result<BrokerLatencies> {
    let measured = BrokerLatencies {
        commit_to_kafka: Latency::counting_from(latencies.from)?,
        commit_to_ingest: Latency::counting_from(latencies.from)?,
        reference: Latency::counting_from(latencies.from)?,
    };
    let mut arrived: Vec<(u64, Instant, i64)> = Vec::new();
    let began = (Instant::now(), now_micros());
    let mut seen: HashSet<u64> = HashSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = catalogue.recv() => {
                let (message, now) = (message?, Instant::now());
                // A later change of the product bears the same text once more.
                let Some(number) = probe(&message).filter(|number| seen.insert(*number)) else { continue };
                arrived.push((number, now, message.timestamp().to_millis().unwrap_or_default()));
                reference.bytes.get_or_init(|| message.payload().unwrap_or_default().to_vec());
            }
            message = back.recv() => {
                let (message, now) = (message?, Instant::now());
                let Some(number) = probe(&message) else { continue };
                if let Some(began) = reference.sent().remove(&number) {
                    measured.reference.record(began, now - began);
                }
            }
        }
    }
    // A record may be here before the database has told the prober of its commit: that is no time at all.
    let commits = latencies.commits.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, at, produced_ms) in arrived {
        if let Some(committed) = commits.get(&number) {
            measured.commit_to_kafka.record(*committed, at.saturating_duration_since(*committed));
            let committed_us = began.1 + committed.saturating_duration_since(began.0).as_micros() as i64;
            let until_ingest_us = (produced_ms * 1_000 - committed_us).max(0) as u64;
            measured.commit_to_ingest.record(*committed, Duration::from_micros(until_ingest_us));
        }
    }
    Ok(measured)
}

/// The number of the probe that a record carries.
fn probe(message: &BorrowedMessage<'_>) -> Option<u64> {
    let payload = message.payload()?;
    let at = probe_at(payload)?;
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
}

/// Where the digits of a probe's number begin.
fn probe_at(payload: &[u8]) -> Option<usize> {
    Some(payload.windows(PROBE.len()).position(|window| window == PROBE)? + PROBE.len())
}

async fn create_topic(kafka: &KafkaConfig) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = topics::client(kafka, "bench").create()?;
    let topic = NewTopic::new(REFERENCE, PARTITIONS as i32, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(METADATA_WAIT_MAX));
    for created in admin.create_topics([&topic], &options).await? {
        created.map_err(|(name, code)| anyhow::anyhow!("create topic {name}: {code}"))?;
    }
    Ok(())
}

/// A reader of a whole topic, from its end on.
async fn consumer(kafka: &KafkaConfig, topic: &str, partitions: i32) -> Result<StreamConsumer> {
    let (config, topic) = (topics::reader(kafka, "bench"), topic.to_owned());
    let open = move || {
        let consumer: StreamConsumer = config.create()?;
        let (mut list, began) = (TopicPartitionList::new(), Instant::now());
        for partition in 0..partitions {
            // A topic that has just been made may have no leader for a moment.
            let (_, end) = loop {
                match consumer.fetch_watermarks(&topic, partition, METADATA_WAIT_MAX) {
                    Err(_) if began.elapsed() < METADATA_WAIT_MAX => {
                        #[expect(clippy::disallowed_methods, reason = "a thread of its own, which may wait")]
                        std::thread::sleep(LEADER_INTERVAL);
                    }
                    ends => break ends?,
                }
            };
            list.add_partition_offset(&topic, partition, Offset::Offset(end))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    };
    tokio::task::spawn_blocking(open).await.context("open a consumer")?
}
