//! The pump: one thread that reads the groups' topics and hands each record to its partition's lane.
//!
//! Partitions are shared between engines by the consumer group `<prefix>-engine`; where a lane starts is decided by the
//! tiers. A partition is paused from its assignment until its lane has opened, and while its lane's inbox is full.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::hearing;
use lockstep_schemas::topics;
use lockstep_tiers::Place;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::{ClientContext, Message as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::lane::{Lane, Request};
use crate::shared::Shared;
use lockstep_schemas::record::RawRecord;

/// A record ends the wait for records; what lanes ask for, and room in their inboxes, does not. So where lanes begin, or
/// records wait for them, the pump looks more often.
const POLL_WAIT_BUSY: Duration = Duration::from_millis(10);
/// Each look at nothing costs a little, of an installation that has nothing to do most.
const POLL_WAIT_IDLE: Duration = Duration::from_millis(250);
/// Lanes seldom begin alone.
const BUSY_AFTER_REQUEST: Duration = Duration::from_secs(5);
const SEEK_WAIT_MAX: Duration = Duration::from_secs(5);
/// A lane that is told to stop ends its call to a tier first.
const LANE_STOP_WAIT_MAX: Duration = Duration::from_secs(5);
const REQUESTS_MAX: usize = 4_096;
/// Kilobytes of records that wait for all lanes together.
const WAITING_KILOBYTES_MAX: usize = 64 * 1_024;
/// Requests of lanes served between two records.
const REQUESTS_AT_ONCE: usize = 64;

type Partition = (String, i32);

/// The lanes of the partitions that this engine owns.
struct Lanes {
    shared: Arc<Shared>,
    /// Topic to group.
    groups: HashMap<String, Arc<str>>,
    runtime: Handle,
    requests: mpsc::Sender<Request>,
    running: Mutex<HashMap<Partition, Running>>,
}

struct Running {
    stop: Shutdown,
    task: JoinHandle<()>,
}

impl Lanes {
    fn start(&self, topic: &str, partition: i32) {
        let Some(group) = self.groups.get(topic) else { return };
        let stop = Shutdown::new();
        let lane = Lane {
            shared: self.shared.clone(),
            topic: topic.to_owned(),
            place: Place { group: group.clone(), partition: partition as u32 },
            requests: self.requests.clone(),
            stop: stop.clone(),
        };
        let task = self.runtime.spawn(lane.run());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert((topic.to_owned(), partition), Running { stop, task });
    }

    /// Stops lanes, and waits until each has ended its call.
    fn stop(&self, partitions: impl IntoIterator<Item = Partition>) {
        let mut stopping = Vec::new();
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            for partition in partitions {
                if let Some(lane) = running.remove(&partition) {
                    lane.stop.cancel();
                    stopping.push(lane.task);
                }
                self.shared.reached.forget(&partition.0, partition.1);
            }
        }
        self.runtime.block_on(async {
            for task in stopping {
                if tokio::time::timeout(LANE_STOP_WAIT_MAX, task).await.is_err() {
                    tracing::warn!("a lane did not end in time; the tiers' fence holds its last call off");
                }
            }
        });
    }

    fn all(&self) -> Vec<Partition> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether a lane has ended that was not told to: it panicked, or its runtime is gone.
    fn has_lost_one(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().any(|lane| lane.task.is_finished() && !lane.stop.is_cancelled())
    }

    fn is_running(&self, partition: &Partition) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).contains_key(partition)
    }
}

struct Context {
    lanes: Arc<Lanes>,
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            tracing::info!(partitions = list.count(), "partitions given back");
            self.lanes.stop(partitions(list));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(partitions = list.count(), "partitions are ours");
                if let Err(error) = consumer.pause(list) {
                    tracing::warn!(%error, "partitions could not be paused; their first records are dropped and read again");
                }
                partitions(list).for_each(|(topic, partition)| self.lanes.start(&topic, partition));
            }
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not be rebalanced"),
        }
    }
}

fn partitions(list: &TopicPartitionList) -> impl Iterator<Item = Partition> {
    list.elements()
        .into_iter()
        .map(|element| (element.topic().to_owned(), element.partition()))
        .collect::<Vec<_>>()
        .into_iter()
}

/// A lane's inbox, as the pump sees it.
struct Outlet {
    inbox: mpsc::Sender<RawRecord>,
    /// Records that came while the inbox was full; the partition is then paused.
    waiting: VecDeque<RawRecord>,
}

/// What became of a record.
enum Handed {
    Over,
    /// The inbox is full, or the memory for all of them.
    Back(RawRecord),
    /// The lane has begun anew or ended.
    ToNobody,
}

impl Outlet {
    fn hand_over(&self, record: RawRecord, memory: &Arc<Semaphore>) -> Handed {
        let record = if record.has_share() {
            record
        } else {
            let share = record.kilobytes().min(WAITING_KILOBYTES_MAX as u32);
            match memory.clone().try_acquire_many_owned(share) {
                Ok(share) => record.holding(share),
                Err(_) => return Handed::Back(record),
            }
        };
        match self.inbox.try_send(record) {
            Ok(()) => Handed::Over,
            Err(mpsc::error::TrySendError::Full(record)) => Handed::Back(record),
            Err(mpsc::error::TrySendError::Closed(_)) => Handed::ToNobody,
        }
    }
}

/// The pump's own state.
pub(crate) struct Pump {
    kafka: KafkaConfig,
    consumer: Arc<BaseConsumer<Context>>,
    /// Ends once the consumer is deaf.
    hearing: JoinHandle<()>,
    topics: Vec<String>,
    lanes: Arc<Lanes>,
    requests: mpsc::Receiver<Request>,
    outlets: HashMap<Partition, Outlet>,
    memory: Arc<Semaphore>,
}

impl Pump {
    /// Joins the group.
    pub fn join(kafka: &KafkaConfig, shared: Arc<Shared>, runtime: Handle) -> Result<Self, Failure> {
        let group_topics =
            shared.policy.followed_groups().map(|group| (topics::of_group(kafka, &group.name), group.name.clone()));
        let groups: HashMap<String, Arc<str>> = group_topics.collect();
        let (requests, received) = mpsc::channel(REQUESTS_MAX);
        let lanes = Arc::new(Lanes { shared, groups, runtime, requests, running: Mutex::default() });
        let failed = |error: KafkaError| Failure::unavailable("joining the engines' group").because(error);
        let topics: Vec<String> = lanes.groups.keys().cloned().collect();
        let consumer = member(kafka, &lanes, &topics).map_err(failed)?;
        Ok(Pump {
            hearing: listen(kafka, &consumer, &lanes.runtime),
            kafka: kafka.clone(),
            consumer,
            topics,
            lanes,
            requests: received,
            outlets: HashMap::new(),
            memory: Arc::new(Semaphore::new(WAITING_KILOBYTES_MAX)),
        })
    }

    /// Pumps until shutdown; then every lane ends its call, and the group learns that we left.
    pub fn run(mut self, shutdown: &Shutdown) -> Result<(), Failure> {
        let mut ended = Ok(());
        let mut asked_at = Instant::now();
        while !shutdown.is_cancelled() {
            if self.lanes.has_lost_one() && !shutdown.is_cancelled() {
                ended = Err(Failure::internal("a lane ended that was not told to; the log above says why"));
                break;
            }
            for _ in 0..REQUESTS_AT_ONCE {
                match self.requests.try_recv() {
                    Ok(request) => {
                        asked_at = Instant::now();
                        self.serve(request);
                    }
                    Err(_) => break,
                }
            }
            if self.hearing.is_finished()
                && let Err(failure) = self.join_anew()
            {
                ended = Err(failure);
                break;
            }
            let waits = self.flush_waiting();
            let is_busy = asked_at.elapsed() < BUSY_AFTER_REQUEST || waits;
            match self.consumer.poll(if is_busy { POLL_WAIT_BUSY } else { POLL_WAIT_IDLE }) {
                None => {}
                Some(Ok(message)) => {
                    let partition = (message.topic().to_owned(), message.partition());
                    let record = RawRecord::of(&message);
                    drop(message);
                    self.deliver(partition, record);
                }
                Some(Err(error)) => tracing::debug!(%error, "reading the log"),
            }
        }
        self.hearing.abort();
        self.lanes.stop(self.lanes.all());
        self.consumer.unsubscribe();
        ended
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Start { lane, offset, inbox } => {
                // A lane that has begun anew, or ended, has closed its old inbox.
                if inbox.is_closed() || !self.lanes.is_running(&lane) {
                    return;
                }
                match self.read_from(&lane, offset) {
                    Ok(()) => drop(self.outlets.insert(lane, Outlet { inbox, waiting: VecDeque::new() })),
                    // Its fetcher is not up yet.
                    Err(error) => {
                        tracing::debug!(topic = %lane.0, partition = lane.1, %error, "the partition can't be read yet");
                        let again = self.lanes.requests.clone();
                        self.lanes.runtime.spawn(async move {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            let _ = again.send(Request::Start { lane, offset, inbox }).await;
                        });
                    }
                }
            }
            // A lane that has been stopped meanwhile asks for what has happened already.
            Request::Rejoin { stop } if stop.is_cancelled() => {}
            Request::Rejoin { .. } => {
                self.lanes.stop(self.lanes.all());
                self.outlets.clear();
                self.consumer.unsubscribe();
                if let Err(error) = subscribe(&self.consumer, &self.topics) {
                    tracing::error!(%error, "joining the group again");
                }
            }
        }
    }

    /// A client that has lost its brokers for good is replaced; lanes open anew from the tiers' watermarks.
    fn join_anew(&mut self) -> Result<(), Failure> {
        tracing::warn!("Kafka's client has lost its brokers for good, though they answer; a new one joins the group");
        self.lanes.stop(self.lanes.all());
        self.outlets.clear();
        self.consumer = member(&self.kafka, &self.lanes, &self.topics)
            .map_err(|error| Failure::unavailable("joining the engines' group again").because(error))?;
        self.hearing = listen(&self.kafka, &self.consumer, &self.lanes.runtime);
        Ok(())
    }

    fn read_from(&self, lane: &Partition, offset: i64) -> Result<(), KafkaError> {
        let list = single(lane)?;
        self.consumer.pause(&list)?;
        self.consumer.seek(&lane.0, lane.1, Offset::Offset(offset), SEEK_WAIT_MAX)?;
        self.consumer.resume(&list)
    }

    fn deliver(&mut self, partition: Partition, record: RawRecord) {
        let Some(outlet) = self.outlets.get_mut(&partition) else { return };
        if !outlet.waiting.is_empty() {
            outlet.waiting.push_back(record);
            return;
        }
        match outlet.hand_over(record, &self.memory) {
            Handed::Over => {}
            Handed::Back(record) => {
                outlet.waiting.push_back(record);
                if let Err(error) = single(&partition).and_then(|list| self.consumer.pause(&list)) {
                    tracing::debug!(%error, "a full lane's partition could not be paused");
                }
            }
            Handed::ToNobody => drop(self.outlets.remove(&partition)),
        }
    }

    /// Hands over what waits; whether some still does.
    fn flush_waiting(&mut self) -> bool {
        let (mut closed, mut waits) = (Vec::new(), false);
        for (partition, outlet) in self.outlets.iter_mut().filter(|(_, outlet)| !outlet.waiting.is_empty()) {
            while let Some(record) = outlet.waiting.pop_front() {
                match outlet.hand_over(record, &self.memory) {
                    Handed::Over => {}
                    Handed::Back(record) => {
                        outlet.waiting.push_front(record);
                        break;
                    }
                    Handed::ToNobody => closed.push(partition.clone()),
                }
            }
            waits |= !outlet.waiting.is_empty();
            if outlet.waiting.is_empty() {
                let resumed = single(partition).and_then(|list| self.consumer.resume(&list));
                if let Err(error) = resumed {
                    tracing::debug!(%error, "a lane's partition could not be resumed");
                }
            }
        }
        closed.iter().for_each(|partition| drop(self.outlets.remove(partition)));
        waits
    }
}

/// A member of the group.
fn member(kafka: &KafkaConfig, lanes: &Arc<Lanes>, names: &[String]) -> Result<Arc<BaseConsumer<Context>>, KafkaError> {
    let mut config = topics::reader(kafka, "engine");
    config
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1500")
        .set("partition.assignment.strategy", "range")
        // What is new comes at once; only a partition that was just given to us, or goes back, waits for so long.
        .set("fetch.wait.max.ms", "400")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer<Context> = config.create_with_context(Context { lanes: lanes.clone() })?;
    subscribe(&consumer, names)?;
    Ok(Arc::new(consumer))
}

/// Listens, from beside, whether the member still hears. It keeps no hold of it: whoever drops the member last gives its
/// partitions back, and waits for their lanes, which a task must not.
fn listen(kafka: &KafkaConfig, consumer: &Arc<BaseConsumer<Context>>, runtime: &Handle) -> JoinHandle<()> {
    let (kafka, consumer, progress) = (kafka.clone(), Arc::downgrade(consumer), topics::PROGRESS.name(kafka));
    let ask = move |wait_max| {
        let consumer = consumer.upgrade().ok_or(KafkaError::Canceled)?;
        consumer.fetch_metadata(Some(&progress), wait_max)
    };
    runtime.spawn(async move { hearing::until_deaf(&kafka, ask).await })
}

fn subscribe(consumer: &BaseConsumer<Context>, topics: &[String]) -> Result<(), KafkaError> {
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names)
}

fn single(partition: &Partition) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&partition.0, partition.1);
    Ok(list)
}
