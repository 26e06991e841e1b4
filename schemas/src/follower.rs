//! Following topics of one partition: all of a process's through one client, since each client has threads that wake
//! though nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hearing::SILENCE_MAX;
use crate::tail::{self, Begin, is_deaf};
use crate::topics::{self, Topic};

/// A broker that has nothing new answers a fetch so late; what is new, it sends at once. But a client that has just been
/// given its topics may ask for one of them before it has taken in the next, which then waits for so long.
const FETCH_WAIT_MS_MAX: &str = "1000";
/// For what is asked of Kafka about one topic; and where some broker was not there in that time, about the next ones.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const ANSWER_WAIT_SHORT: Duration = Duration::from_secs(1);
/// After an error, what has come already is handed out: until nothing comes for so long, or for so long at most.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Follows topics until shutdown. Clones share its client.
///
/// Where reading fails another client goes on behind the last records that came. Of a topic that is read from its oldest
/// record, or its last ones, all that comes again: it is state, and the newest record counts.
#[derive(Clone)]
pub struct Follower {
    kafka: KafkaConfig,
    joining: Arc<Joining>,
}

#[derive(Default)]
struct Joining {
    waiting: Mutex<Vec<Followed>>,
    rung: Notify,
}

impl Joining {
    fn lock(&self) -> MutexGuard<'_, Vec<Followed>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once somebody waits.
    async fn joined(&self) {
        while self.lock().is_empty() {
            self.rung.notified().await;
        }
    }
}

/// One topic, for one who follows it.
struct Followed {
    topic: String,
    begin: Begin,
    /// The offset of the next record; `None` where no client has opened the topic yet, or all of it comes again.
    next: Option<i64>,
    each: Box<dyn FnMut(&OwnedMessage) + Send>,
}

impl Followed {
    /// State is heard once more, all of it.
    fn begin_again(&mut self) {
        if self.begin.is_state() {
            self.next = None;
        }
    }
}

impl Follower {
    /// Starts the reading task. There is no client before there is a topic.
    pub fn start(kafka: &KafkaConfig, shutdown: Shutdown) -> Self {
        let (follower, reading) = Self::new(kafka, shutdown);
        tokio::spawn(reading);
        follower
    }

    /// The same, with the reading task for whoever looks after it.
    pub fn new(kafka: &KafkaConfig, shutdown: Shutdown) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let joining = Arc::<Joining>::default();
        let reading = run(kafka.clone(), joining.clone(), shutdown);
        (Follower { kafka: kafka.clone(), joining }, reading)
    }

    /// Hands each record of a topic to `each`, which must be quick: it holds the other topics up.
    pub fn follow(&self, topic: Topic, begin: Begin, each: impl FnMut(&OwnedMessage) + Send + 'static) {
        let followed = Followed { topic: topic.name(&self.kafka), begin, next: None, each: Box::new(each) };
        self.joining.lock().push(followed);
        self.joining.rung.notify_one();
    }
}

/// Reads with one client after the other: with another one where the topics are others, or reading fails.
async fn run(kafka: KafkaConfig, joining: Arc<Joining>, shutdown: Shutdown) {
    let mut all: Vec<Followed> = Vec::new();
    let (mut pauses, mut looks, mut missed) = (Pauses::default(), Pauses::default(), BTreeMap::new());
    loop {
        let read = async {
            if all.is_empty() {
                joining.joined().await;
            }
            all.append(&mut joining.lock());
            let Opened { consumer, missing } = open(&kafka, &mut all).await?;
            for (topic, error) in missing.iter().filter(|(topic, _)| !missed.contains_key(*topic)) {
                tracing::warn!(topic, %error, "a topic can't be read yet; it is read once it can");
            }
            if missing.is_empty() {
                looks = Pauses::default();
            }
            missed = missing;
            tokio::select! {
                failed = hand_out(&kafka, &consumer, &mut all) => failed,
                // A fetch under way would not have them for seconds.
                () = joining.joined() => Ok(()),
                () = appeared(&consumer, &missed, &mut looks) => Ok(()),
            }
        };
        let read: Result<(), KafkaError> = tokio::select! {
            read = read => read,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = read {
            let topics = BTreeSet::from_iter(all.iter().map(|followed| &*followed.topic));
            tracing::warn!(?topics, %error, "topics can't be read; trying again");
            // It may be another topic under the old name.
            all.iter_mut().for_each(Followed::begin_again);
            if !pauses.wait(&shutdown).await {
                return;
            }
        }
    }
}

/// A client that reads, and the topics that can't be read, with the reason.
struct Opened {
    consumer: Arc<StreamConsumer>,
    missing: BTreeMap<String, KafkaError>,
}

/// Opens each topic where whoever follows it goes on; two who follow one topic have it read from where the first of them is.
async fn open(kafka: &KafkaConfig, all: &mut [Followed]) -> Result<Opened, KafkaError> {
    let mut config = topics::reader(kafka, "follower");
    config.set("fetch.wait.max.ms", FETCH_WAIT_MS_MAX);
    let topics: BTreeSet<String> = all.iter().map(|followed| followed.topic.clone()).collect();
    let open = move || {
        let consumer: StreamConsumer = config.create()?;
        let (mut ends, mut missing, mut wait_max) = (BTreeMap::new(), BTreeMap::new(), ANSWER_WAIT_MAX);
        for topic in topics {
            match tail::ends_now(&consumer, &topic, wait_max) {
                Ok(answer) => drop(ends.insert(topic, answer)),
                Err(error) => {
                    if is_away(&error) {
                        // The brokers have had their time: of the others each has little more.
                        wait_max = ANSWER_WAIT_SHORT;
                    }
                    missing.insert(topic, error);
                }
            }
        }
        Ok::<_, KafkaError>((consumer, ends, missing))
    };
    let (consumer, ends, missing) = tokio::task::spawn_blocking(open).await.unwrap_or(Err(KafkaError::Canceled))?;
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for followed in all {
        let Some((oldest, end)) = ends.get(&followed.topic) else {
            // Once it can be read, it may be another one.
            followed.begin_again();
            continue;
        };
        let next = tail::next(followed.begin, followed.next, *oldest, *end);
        followed.next = Some(next);
        first.entry(&followed.topic).and_modify(|first| *first = next.min(*first)).or_insert(next);
    }
    let mut places = TopicPartitionList::new();
    for (topic, next) in first {
        places.add_partition_offset(topic, 0, Offset::Offset(next))?;
    }
    consumer.assign(&places)?;
    Ok(Opened { consumer: Arc::new(consumer), missing })
}

/// Hands out what comes, until reading fails.
async fn hand_out(kafka: &KafkaConfig, consumer: &Arc<StreamConsumer>, all: &mut [Followed]) -> Result<(), KafkaError> {
    let (mut heard_at, mut failed) = (Instant::now(), None::<(KafkaError, Instant)>);
    let mut said = Vec::new();
    loop {
        // Others of the process have their turn, however much there is to read.
        tokio::task::coop::consume_budget().await;
        let wait_until = match &failed {
            Some((error, at)) if at.elapsed() >= DRAIN_MAX => return Err(error.clone()),
            Some(_) => Instant::now() + DRAIN_SILENCE,
            None => heard_at + SILENCE_MAX,
        };
        let record = match tokio::time::timeout_at(wait_until, consumer.recv()).await {
            Ok(Ok(record)) => record.detach(),
            // What the other topics have given stands behind it.
            Ok(Err(error)) if is_of_a_topic(&error) => {
                failed = failed.or(Some((error, Instant::now())));
                continue;
            }
            // The client goes on by itself, of one topic later than of the others.
            Ok(Err(error)) => {
                if !is_away(&error) && !said.contains(&error) {
                    tracing::warn!(%error, "following topics");
                    said.push(error);
                }
                continue;
            }
            Err(_) => {
                if let Some((error, _)) = failed {
                    return Err(error);
                }
                if is_deaf(kafka, consumer).await {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown));
                }
                heard_at = Instant::now();
                continue;
            }
        };
        heard_at = Instant::now();
        for followed in all.iter_mut().filter(|followed| followed.topic == record.topic()) {
            // Of two who follow the topic, the other one may be behind.
            if followed.next.is_some_and(|next| next <= record.offset()) {
                followed.next = Some(record.offset() + 1);
                (followed.each)(&record);
            }
        }
    }
}

/// Returns once one of the topics may be there; never, where there are none to look for.
async fn appeared(consumer: &Arc<StreamConsumer>, missing: &BTreeMap<String, KafkaError>, pauses: &mut Pauses) {
    if missing.is_empty() {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(pauses.next_pause()).await;
        let (consumer, missing) = (Arc::clone(consumer), missing.clone());
        let look = move || {
            // Of one that was not there this client would not know its ends for seconds.
            let is_there = |(topic, error): (&String, &KafkaError)| match is_of_a_topic(error) {
                true => tail::is_led(&consumer, topic),
                false => tail::ends_now(&consumer, topic, ANSWER_WAIT_MAX).is_ok(),
            };
            missing.iter().any(is_there)
        };
        if tokio::task::spawn_blocking(look).await.unwrap_or(false) {
            return;
        }
    }
}

/// Whether a topic is not there, or not the one that it was: it must be opened anew.
fn is_of_a_topic(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{
        AutoOffsetReset, LeaderNotAvailable, NotLeaderForPartition, OffsetOutOfRange, UnknownPartition, UnknownTopic,
        UnknownTopicOrPartition,
    };
    const CODES: [RDKafkaErrorCode; 7] = [
        AutoOffsetReset,
        LeaderNotAvailable,
        NotLeaderForPartition,
        OffsetOutOfRange,
        UnknownPartition,
        UnknownTopic,
        UnknownTopicOrPartition,
    ];
    error.rdkafka_error_code().is_some_and(|code| CODES.contains(&code))
}

/// Whether a broker is away, which says nothing of any topic.
fn is_away(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| [AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve].contains(&code))
}
