//! Following topics of one partition: all of a process's through one client, since each client has threads that wake
//! though nothing happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use crate::hearing::SILENCE_MAX;
use crate::tail::{self, Begin, is_deaf};
use crate::topics::Topic;

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

impl Follower {
    /// Starts the reading task. There is no client before there is a topic.
    pub fn start(kafka: &KafkaConfig, shutdown: Shutdown) -> Self {
        let joining = Arc::<Joining>::default();
        tokio::spawn(run(kafka.clone(), joining.clone(), shutdown));
        Follower { kafka: kafka.clone(), joining }
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
            let looked_for = missing.keys().cloned().collect();
            missed = missing;
            tokio::select! {
                failed = hand_out(&kafka, &consumer, &mut all) => failed,
                // A fetch under way would not have them for seconds.
                () = joining.joined() => Ok(()),
                () = appeared(&consumer, looked_for, &mut looks) => Ok(()),
            }
        };
        let read: Result<(), KafkaError> = tokio::select! {
            read = read => read,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = read {
            let topics = BTreeSet::from_iter(all.iter().map(|followed| &*followed.topic));
            tracing::warn!(?topics, %error, "topics can't be read; trying again");
            all.iter_mut().filter(|followed| followed.begin.is_state()).for_each(|followed| followed.next = None);
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
    let config = tail::reader(kafka, "follower");
    let wanted: Vec<_> = all.iter().map(|followed| (followed.topic.clone(), followed.begin, followed.next)).collect();
    let open = move || {
        let consumer: StreamConsumer = config.create()?;
        let (mut nexts, mut missing) = (Vec::with_capacity(wanted.len()), BTreeMap::new());
        for (topic, begin, place) in wanted {
            match tail::ends_now(&consumer, &topic) {
                Ok((oldest, end)) => nexts.push(Some(tail::next(begin, place, oldest, end))),
                Err(error) => {
                    missing.insert(topic, error);
                    nexts.push(None);
                }
            }
        }
        Ok::<_, KafkaError>((consumer, nexts, missing))
    };
    let (consumer, nexts, missing) = tokio::task::spawn_blocking(open).await.unwrap_or(Err(KafkaError::Canceled))?;
    let mut first: BTreeMap<&str, i64> = BTreeMap::new();
    for (followed, next) in all.iter_mut().zip(nexts) {
        let Some(next) = next else { continue };
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
    loop {
        let Ok(came) = tokio::time::timeout(SILENCE_MAX, consumer.recv()).await else {
            if is_deaf(kafka, consumer).await {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown));
            }
            continue;
        };
        let record = came?.detach();
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
async fn appeared(consumer: &Arc<StreamConsumer>, missing: Vec<String>, pauses: &mut Pauses) {
    loop {
        if missing.is_empty() {
            return std::future::pending().await;
        }
        tokio::time::sleep(pauses.next_pause()).await;
        let (consumer, topics) = (Arc::clone(consumer), missing.clone());
        let look = move || topics.iter().any(|topic| tail::is_led(&consumer, topic));
        if tokio::task::spawn_blocking(look).await.unwrap_or(false) {
            return;
        }
    }
}
