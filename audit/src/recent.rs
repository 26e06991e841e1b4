//! What has just changed, and what is hot: looked at far more often than the walks come by.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_schemas::hearing;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::{self, Begin};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch::{self, Receiver};

use crate::AuditError;
use crate::findings::Findings;
use crate::look::{Place, Slow, look};
use crate::shared::Shared;
use crate::subject::Subject;
use crate::ways::Ways;

/// Between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);
/// Entities of a round that have just changed, and hot ones.
const CHANGED_PER_ROUND: usize = 20;
const HOT_PER_ROUND: usize = 5;
/// Changes that wait to be looked at; older ones give way.
const WAITING_MAX: usize = 1_000;
/// The group whose entities the hot set names.
type Group = Arc<str>;

/// Looks until shutdown.
pub(crate) async fn recent(shared: Arc<Shared>, kafka: KafkaConfig, shutdown: Shutdown) {
    let hot = hot(kafka.clone(), shutdown.clone());
    let mut reader = RecordReader::new(LiveRegistry::follow(kafka.clone(), shutdown.clone()));
    let mut pauses = Pauses::default();
    loop {
        let round = async {
            let consumer = open(&shared, &kafka).await.map_err(|_| AuditError::Answer("the log can't be read"))?;
            let consumer = Arc::new(consumer);
            let asked = Arc::clone(&consumer);
            let ask = move |wait_max| asked.fetch_metadata(Some(topics::PROGRESS), wait_max);
            let mut ways = Ways::default();
            let looks = async {
                loop {
                    let changed = listen(&consumer, &mut reader, &shared).await?;
                    let entities = changed.into_iter().chain(some_hot(&shared, &hot)).collect();
                    look_at(&shared, entities, &mut ways).await?;
                }
            };
            tokio::select! {
                failed = looks => failed,
                () = hearing::until_deaf(&kafka, ask) => Err(AuditError::Answer("Kafka's client has lost its brokers for good")),
            }
        };
        let failed: Result<(), AuditError> = tokio::select! {
            failed = round => failed,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = failed {
            shared.metrics.failures.inc();
            tracing::warn!(%error, "what has just changed can't be audited; trying again");
        }
        if !pauses.wait(&shutdown).await {
            return;
        }
    }
}

/// Every partition of the followed groups, from its end on.
async fn open(shared: &Shared, kafka: &KafkaConfig) -> Result<StreamConsumer, KafkaError> {
    let consumer: StreamConsumer = topics::reader(kafka, "audit").create()?;
    let mut places = TopicPartitionList::new();
    for group in shared.auditor.policy.followed_groups() {
        for partition in 0..shared.auditor.names.partitions() {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            places.add_partition_offset(&topics::of_group(&group.name), partition, Offset::End)?;
        }
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

/// The entities of some of the newest changes of a round's time.
async fn listen(
    consumer: &StreamConsumer,
    reader: &mut RecordReader,
    shared: &Shared,
) -> Result<BTreeSet<(Group, String)>, AuditError> {
    let mut waiting: VecDeque<RawRecord> = VecDeque::new();
    let round = tokio::time::sleep(ROUND_PAUSE);
    tokio::pin!(round);
    loop {
        tokio::select! {
            () = &mut round => break,
            message = consumer.recv() => {
                let message = message.map_err(|_| AuditError::Answer("the log can't be read"))?;
                waiting.push_back(RawRecord::of(&message));
                if waiting.len() > WAITING_MAX {
                    waiting.pop_front();
                }
            }
        }
    }
    let mut entities = BTreeSet::new();
    for record in waiting.iter().rev() {
        if entities.len() >= CHANGED_PER_ROUND {
            break;
        }
        let Ok(Event::Change(change)) = reader.read(record).await else { continue };
        let group = shared.auditor.policy.group_of(&change.table);
        if let Some((group, entity)) = group.and_then(|group| Some((group, group.entity(change.row()?)?))) {
            entities.insert((group.name.clone(), entity.to_owned()));
        }
    }
    Ok(entities)
}

fn hot(kafka: KafkaConfig, shutdown: Shutdown) -> Receiver<Vec<String>> {
    let (tell, newest) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let take = |message: rdkafka::message::OwnedMessage| {
            if let Ok(set) = serde_json::from_slice(message.payload().unwrap_or_default()) {
                tell.send_replace(set);
            }
        };
        tail::follow(kafka, "audit", topics::HOT, Begin::Newest, shutdown, take).await;
    });
    newest
}

/// Some members of the hot set, in the group of the first view that has one.
fn some_hot(shared: &Shared, hot: &Receiver<Vec<String>>) -> Vec<(Group, String)> {
    let view = shared.auditor.policy.views.values().find(|view| view.hot_set.is_some());
    let Some(view) = view else { return Vec::new() };
    let hot = hot.borrow();
    let count = HOT_PER_ROUND.min(hot.len());
    (0..count).map(|_| (view.group.clone(), hot[fastrand::usize(..hot.len())].clone())).collect()
}

/// Every copy of some entities, in every tier.
async fn look_at(shared: &Shared, entities: Vec<(Group, String)>, ways: &mut Ways) -> Result<(), AuditError> {
    if entities.is_empty() {
        return Ok(());
    }
    let auditor = &shared.auditor;
    let (mut findings, mut slow) = (Findings::default(), Slow::default());
    for tier in TierName::INSIDE_OUT {
        let nodes = ways.to(auditor, tier).await?;
        for view in auditor.policy.views.values().filter(|view| view.tier == tier && view.key.is_plain()) {
            let of = entities.iter().filter(|(group, _)| *group == view.group);
            let mut by_node: HashMap<usize, Vec<Subject>> = HashMap::new();
            for (_, entity) in of {
                let subject = match tier {
                    TierName::L3 => auditor.names.page(view, entity),
                    _ => auditor.names.entry(view, entity, auditor.is_cluster(tier)),
                };
                let Some(subject) = subject else { continue };
                let node = nodes.iter().position(|node| node.has(&subject.mark)).unwrap_or(0);
                by_node.entry(if tier == TierName::L3 { 0 } else { node }).or_default().push(subject);
            }
            for (node, subjects) in by_node {
                let mut place = match (&auditor.edge, tier) {
                    (Some(edge), TierName::L3) => Place::Edge(edge, nodes),
                    _ => Place::Node(tier, &mut nodes[node]),
                };
                look(auditor, &mut place, &subjects, &mut slow, &mut findings).await?;
            }
        }
        shared.take(&mut findings);
    }
    Ok(())
}
