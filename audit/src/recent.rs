//! What has just changed, and what is hot: looked at far more often than the walks come by.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::hearing;
use lockstep_schemas::policy::{TierName, View};
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::switched::Switched;
use lockstep_schemas::tail::Begin;
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
/// Changes of a round that are heard of. Then the auditor stops its ears until the next round: a busy log is not read whole.
const HEARD_PER_ROUND: usize = 200;
/// The group whose entities the hot set names.
type Group = Arc<str>;

/// Looks until shutdown.
pub(crate) async fn recent(shared: Arc<Shared>, kafka: KafkaConfig, follower: Follower, shutdown: Shutdown) {
    // After a rebuild readers read another version of a view's entries.
    let Some(switched) = Switched::open(&kafka, &follower, &shutdown).await else { return };
    let hot = hot(&follower);
    let mut reader = RecordReader::new(LiveRegistry::follow(&follower));
    let mut pauses = Pauses::default();
    loop {
        let round = async {
            let ends = ends(&kafka, &shared).map_err(|_| NOT_READ)?;
            let consumer: StreamConsumer = topics::reader(&kafka, "audit").create().map_err(|_| NOT_READ)?;
            let consumer = Arc::new(consumer);
            let (asked, progress) = (Arc::clone(&consumer), topics::PROGRESS.name(&kafka));
            let ask = move |wait_max| asked.fetch_metadata(Some(&progress), wait_max);
            let (mut ways, mut credits) = (Ways::default(), Credits::default());
            let looks = async {
                let mut hears = false;
                loop {
                    if !hears {
                        consumer.assign(&ends).map_err(|_| NOT_READ)?;
                    }
                    let (changed, is_quiet) = listen(&consumer, &mut reader, &shared).await?;
                    hears = is_quiet;
                    let mut entities: Vec<_> = changed.into_iter().chain(some_hot(&shared, &hot)).collect();
                    // Where not all may be looked at, each has the same chance.
                    fastrand::shuffle(&mut entities);
                    look_at(&shared, &switched, &entities, &mut ways, &mut credits).await?;
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

const NOT_READ: AuditError = AuditError::Answer("the log can't be read");

/// Every partition of the followed groups, from its end on.
fn ends(kafka: &KafkaConfig, shared: &Shared) -> Result<TopicPartitionList, KafkaError> {
    let mut places = TopicPartitionList::new();
    for group in shared.auditor.policy.followed_groups() {
        for partition in 0..shared.auditor.names.partitions() {
            let partition = i32::try_from(partition).unwrap_or(i32::MAX);
            places.add_partition_offset(&topics::of_group(kafka, &group.name), partition, Offset::End)?;
        }
    }
    Ok(places)
}

/// The entities of some changes of a round's time; whether these were all, so that the consumer may go on from there.
async fn listen(
    consumer: &StreamConsumer,
    reader: &mut RecordReader,
    shared: &Shared,
) -> Result<(BTreeSet<(Group, String)>, bool), AuditError> {
    let (mut heard, mut is_quiet) = (Vec::<RawRecord>::new(), true);
    let round = tokio::time::sleep(ROUND_PAUSE);
    tokio::pin!(round);
    loop {
        tokio::select! {
            () = &mut round => break,
            message = consumer.recv(), if is_quiet => {
                heard.push(RawRecord::of(&message.map_err(|_| NOT_READ)?));
                if heard.len() >= HEARD_PER_ROUND {
                    consumer.unassign().map_err(|_| NOT_READ)?;
                    is_quiet = false;
                }
            }
        }
    }
    let mut entities = BTreeSet::new();
    for record in heard.iter().rev() {
        if entities.len() >= CHANGED_PER_ROUND {
            break;
        }
        let Ok(Event::Change(change)) = reader.read(record).await else { continue };
        let group = shared.auditor.policy.group_of(&change.table);
        if let Some((group, entity)) = group.and_then(|group| Some((group, group.entity(change.row()?)?))) {
            entities.insert((group.name.clone(), entity.to_owned()));
        }
    }
    Ok((entities, is_quiet))
}

fn hot(follower: &Follower) -> Receiver<Vec<String>> {
    let (tell, newest) = watch::channel(Vec::new());
    follower.follow(topics::HOT, Begin::Newest, move |message| {
        if let Ok(set) = serde_json::from_slice(message.payload().unwrap_or_default()) {
            tell.send_replace(set);
        }
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

/// Copies of each tier that may be looked at now; what is not used is saved for a busier round, up to one round's most.
#[derive(Default)]
struct Credits {
    copies: BTreeMap<&'static str, f64>,
    earned: Option<Instant>,
}

impl Credits {
    fn earn(&mut self, shared: &Shared) {
        let seconds = self.earned.replace(Instant::now()).map_or(0.0, |before| before.elapsed().as_secs_f64());
        for tier in TierName::INSIDE_OUT {
            let views = views_of(shared, tier).count();
            let most = (views * (CHANGED_PER_ROUND + HOT_PER_ROUND)) as f64;
            let copies = self.copies.entry(tier.as_str()).or_default();
            *copies = (*copies + seconds * shared.share(tier).recent).min(most);
        }
    }

    /// How many entities may be looked at in a tier, each in all of its views; they are paid for.
    fn spend(&mut self, tier: TierName, views: usize, wanted: usize) -> usize {
        let copies = self.copies.entry(tier.as_str()).or_default();
        let entities = ((*copies / views.max(1) as f64) as usize).min(wanted);
        *copies -= (entities * views) as f64;
        entities
    }
}

/// Views of a tier whose entries are named by their entity alone.
fn views_of(shared: &Shared, tier: TierName) -> impl Iterator<Item = &Arc<View>> {
    shared.auditor.policy.views.values().filter(move |view| view.tier == tier && view.key.is_plain())
}

/// Every copy of some entities, in every tier; of fewer where there are more than may be looked at.
async fn look_at(
    shared: &Shared,
    switched: &Switched,
    entities: &[(Group, String)],
    ways: &mut Ways,
    credits: &mut Credits,
) -> Result<(), AuditError> {
    credits.earn(shared);
    if entities.is_empty() {
        return Ok(());
    }
    let auditor = &shared.auditor;
    let (mut findings, mut slow) = (Findings::default(), Slow::default());
    for tier in TierName::INSIDE_OUT {
        let nodes = ways.to(auditor, tier).await?;
        let count = credits.spend(tier, views_of(shared, tier).count(), entities.len());
        for view in views_of(shared, tier) {
            let of = entities[..count].iter().filter(|(group, _)| *group == view.group);
            let mut by_node: HashMap<usize, Vec<Subject>> = HashMap::new();
            for (_, entity) in of {
                let subject = match tier {
                    TierName::L3 => auditor.names.page(view, entity),
                    _ => auditor.names.entry(view, switched.version_of(&view.name), entity, auditor.is_cluster(tier)),
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
