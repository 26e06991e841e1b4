//! Passes: what waits because only deferred columns changed is dropped, through the log, before it has waited too long
//! (docs/protocol.md, "Deferred columns").
//!
//! One reader beside the lanes, in a consumer group: engines share its partitions. What it collects is kept nowhere but in
//! the log: its committed offset says that all before it has been sent, and whoever begins there collects the rest again.
//! Sent twice is as good as once, so that offset need not be exact; lanes know nothing of it.

mod collected;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::record::{RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::signal::Signal;
use lockstep_schemas::topics;
use lockstep_source::{Database, DatabaseError, signals};
use prometheus_client::metrics::counter::Counter;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};
use tokio::time::Instant;

use crate::plan::Planner;
use collected::{Collected, Place, Read, Taken};

/// Entities of one transaction, and a second.
const STEP_MAX: usize = 200;
const ENTITIES_PER_SECOND: u32 = 1_000;
/// How often Kafka is told how far all has been sent.
const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Partitions that were given back. Whoever has one next goes on from what has been sent; so do we, if it comes back.
#[derive(Default)]
struct GivenBack(Mutex<Vec<Place>>);

impl GivenBack {
    fn take(&self) -> Vec<Place> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for GivenBack {}

impl ConsumerContext for GivenBack {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let places = list.elements().into_iter().map(|element| (element.topic().to_owned(), element.partition()));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(places);
        }
    }
}

type Consumer = StreamConsumer<GivenBack>;

/// What passes need.
pub(crate) struct Passes {
    kafka: KafkaConfig,
    planner: Arc<Planner>,
    registry: LiveRegistry,
    database: Database,
    /// Entities that were dropped.
    dropped: Counter,
}

impl Passes {
    /// `None`: no view has deferred columns.
    pub fn new(
        kafka: &KafkaConfig,
        planner: Arc<Planner>,
        registry: LiveRegistry,
        database: Database,
        metrics: &Metrics,
    ) -> Option<Self> {
        planner.deferring_groups().next()?;
        let dropped = Counter::default();
        metrics.register("engine_deferred_entities", "Entities dropped by passes", &dropped);
        Some(Passes { kafka: kafka.clone(), planner, registry, database, dropped })
    }

    /// Works until shutdown. Whatever goes wrong, it begins again from what has been sent.
    pub async fn run(self, shutdown: Shutdown) {
        let mut pauses = Pauses::default();
        loop {
            let ended = tokio::select! {
                ended = self.follow() => ended,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "deferred columns can't be followed; beginning again from what has been sent");
            }
            if !pauses.wait(&shutdown).await {
                return;
            }
        }
    }

    async fn follow(&self) -> Result<(), Failure> {
        let mut config = topics::reader(&self.kafka, "passes");
        // Where it is not known how far all has been sent, all is sent again.
        config.set("auto.offset.reset", "earliest");
        // What is new comes at once; only a partition that was just given to us waits for so long.
        config.set("fetch.wait.max.ms", "1000");
        let consumer = Arc::new(config.create_with_context::<_, Consumer>(GivenBack::default()).map_err(log_failed)?);
        let names: Vec<String> =
            self.planner.deferring_groups().map(|group| topics::of_group(&self.kafka, group)).collect();
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>()).map_err(log_failed)?;
        let mut reader = RecordReader::new(self.registry.clone());
        let (mut collected, mut tick) = (Collected::default(), tokio::time::interval(COMMIT_INTERVAL));
        loop {
            let due = collected.due();
            let until_due = async {
                match due {
                    Some(due) => tokio::time::sleep(until(due)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = consumer.recv() => {
                    let message = message.map_err(log_failed)?;
                    leave(&consumer, &mut collected);
                    let place = (message.topic().to_owned(), message.partition());
                    if !collected.knows(&place) {
                        let sent = sent(&consumer, &place).await.map_err(log_failed)?;
                        let read = sent.unwrap_or(Read { next: message.offset(), epoch: 0 });
                        collected.begin(place.clone(), read);
                    }
                    let event = reader.read(&RawRecord::of(&message)).await;
                    match collected.take(&self.planner, &place, message.offset(), event) {
                        Taken::Known => {}
                        Taken::Gone => self.forget(&place).await?,
                        Taken::Anew => {
                            collected.forget(&place);
                            let sought = consumer.seek(&place.0, place.1, Offset::Beginning, ANSWER_WAIT_MAX);
                            sought.map_err(log_failed)?;
                        }
                    }
                }
                () = until_due => {
                    leave(&consumer, &mut collected);
                    self.send(collected.pass(STEP_MAX)).await?;
                    commit(&consumer, &collected).map_err(log_failed)?;
                }
                _ = tick.tick() => {
                    leave(&consumer, &mut collected);
                    commit(&consumer, &collected).map_err(log_failed)?;
                }
            }
        }
    }

    /// Sends a pass, so many entities a second.
    async fn send(&self, steps: Vec<(usize, Vec<Signal>)>) -> Result<(), Failure> {
        let entities: usize = steps.iter().map(|(entities, _)| entities).sum();
        for (entities, step) in steps {
            let due = Instant::now() + Duration::from_secs(1) / ENTITIES_PER_SECOND * entities as u32;
            signals::send_all(&self.database, &step).await.map_err(not_sent)?;
            self.dropped.inc_by(entities as u64);
            tokio::time::sleep_until(due).await;
        }
        tracing::debug!(entities, "a pass dropped what was made of deferred columns");
        Ok(())
    }

    /// What was deferred in records that are gone is not known: whatever was made of their group goes.
    async fn forget(&self, place: &Place) -> Result<(), Failure> {
        let group = self.planner.deferring_groups().find(|group| topics::of_group(&self.kafka, group) == place.0);
        let Some(group) = group else { return Ok(()) };
        tracing::warn!(topic = %place.0, partition = place.1, "deferred changes are gone from the log; entries of their group are dropped");
        signals::send_all(&self.database, &[Signal::Forget { group: group.to_string(), table: None }])
            .await
            .map_err(not_sent)?;
        Ok(())
    }
}

fn log_failed(error: KafkaError) -> Failure {
    Failure::unavailable("the log").because(error)
}

fn not_sent(error: DatabaseError) -> Failure {
    Failure::unavailable("a pass could not be sent").because(error)
}

fn until(due: i64) -> Duration {
    Duration::from_micros(u64::try_from(due.saturating_sub(now_micros())).unwrap_or(0))
}

/// What waits in partitions that are another's now is another's to send.
fn leave(consumer: &Consumer, collected: &mut Collected) {
    consumer.context().take().iter().for_each(|place| collected.leave(place));
}

/// Up to where of a partition all has been sent, as whoever had it before has told Kafka.
async fn sent(consumer: &Arc<Consumer>, place: &Place) -> Result<Option<Read>, KafkaError> {
    let (consumer, (topic, partition)) = (consumer.clone(), place.clone());
    let ask = move || {
        let mut list = TopicPartitionList::new();
        list.add_partition(&topic, partition);
        let told = consumer.committed_offsets(list, ANSWER_WAIT_MAX)?;
        let found = told.elements();
        Ok(found.first().and_then(|element| match element.offset() {
            Offset::Offset(next) => Some(Read { next, epoch: element.metadata().parse().unwrap_or(0) }),
            _ => None,
        }))
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or(Err(KafkaError::Canceled))
}

fn commit(consumer: &Consumer, collected: &Collected) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), read) in collected.done() {
        let mut element = list.add_partition(&topic, partition);
        element.set_offset(Offset::Offset(read.next))?;
        element.set_metadata(read.epoch.to_string());
    }
    if list.count() == 0 {
        return Ok(());
    }
    // What Kafka does not take is sent again, by us or by another.
    if let Err(error) = consumer.commit(&list, CommitMode::Async) {
        tracing::debug!(%error, "Kafka was not told how far all has been sent");
    }
    Ok(())
}
