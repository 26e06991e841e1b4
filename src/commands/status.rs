//! `lockstep status`: how far each tier has come, read from the tiers and the log themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_tiers::{Layout, Place, Tier, Watermark};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::switch::switches;
use crate::cli::OutputFormat;
use crate::output;

mod audit;
mod ingest;
mod report;
mod state;
mod warmer;

use report::{PartitionStatus, Status, print};
use state::State;

const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);

/// Two looks so far apart tell whether something moves.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

pub(crate) async fn run(config: &Config, policy: &Policy, format: OutputFormat) -> anyhow::Result<()> {
    let status = read(config, policy).await?;
    match format {
        OutputFormat::Json => output::line(&serde_json::to_string(&status)?),
        OutputFormat::Text => print(&status),
    }
    match status.silent.iter().next() {
        None => Ok(()),
        Some((tier, why)) => {
            let remedy =
                "what is known of its lanes is shown; bring all of its nodes back, the engine goes on by itself";
            Err(Failure::unavailable(format!("{tier} does not answer: {why}")).remedy(remedy).into())
        }
    }
}

/// Tiers, as a reader of watermarks needs them.
pub(crate) struct Watermarks {
    l1: Tier,
    l2: Tier,
}

impl Watermarks {
    pub async fn connect(config: &Config, policy: &Policy) -> Result<Self, Failure> {
        let layout = Arc::new(Layout::new(policy, &config.namespace, config.partitions));
        let l1 = Tier::cluster(TierName::L1, config.l1()?, layout.clone()).await?;
        Ok(Watermarks { l1, l2: Tier::connect(TierName::L2, config.l2()?, layout).await? })
    }

    /// The one of a name; L3's watermarks are kept on L2.
    pub fn of(&self, tier: TierName) -> &Tier {
        if tier == TierName::L1 { &self.l1 } else { &self.l2 }
    }

    /// Both, from the inside out.
    pub fn tiers(&self) -> [&Tier; 2] {
        [&self.l2, &self.l1]
    }

    /// How far a tier has come in one place.
    pub async fn read(&self, tier: TierName, place: &Place) -> Result<Option<Reached>, Failure> {
        let on = self.of(tier);
        let away = |error| Failure::unavailable(format!("{}: {error}", on.name.as_str()));
        Ok(on.watermark(place).await.map_err(away)?.and_then(|mark| Reached::of(tier, mark)))
    }
}

/// Each tier by itself: one that does not answer hides no other.
#[derive(Default)]
struct Tiers {
    answering: BTreeMap<&'static str, Tier>,
    /// Why the others are not asked.
    silent: BTreeMap<&'static str, String>,
    /// The same of one that could not be reached, with its remedy.
    failure: Option<Failure>,
}

impl Tiers {
    async fn connect(config: &Config, policy: &Policy) -> Result<Self, Failure> {
        let layout = Arc::new(Layout::new(policy, &config.namespace, config.partitions));
        let (l1, l2) = (config.l1()?, config.l2()?);
        let (l1, l2) = tokio::join!(
            Tier::cluster(TierName::L1, l1, layout.clone()),
            Tier::connect(TierName::L2, l2, layout.clone())
        );
        let mut tiers = Tiers::default();
        for (name, connected) in [(TierName::L1, l1), (TierName::L2, l2)] {
            match connected {
                Ok(tier) => drop(tiers.answering.insert(name.as_str(), tier)),
                Err(failure) if failure.kind == FailureKind::Unavailable => {
                    tiers.silent.insert(name.as_str(), failure.to_string());
                    tiers.failure = tiers.failure.or(Some(failure));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(tiers)
    }

    /// How far a tier has come in one place. `None`: it does not answer, and is not asked again.
    async fn read(&mut self, tier: TierName, place: &Place) -> Option<Option<Reached>> {
        let on = if tier == TierName::L1 { tier } else { TierName::L2 }.as_str();
        match self.answering.get(on)?.watermark(place).await {
            Ok(mark) => Some(mark.and_then(|mark| Reached::of(tier, mark))),
            Err(error) => {
                self.answering.remove(on);
                self.silent.insert(on, error.to_string());
                None
            }
        }
    }
}

/// How far a tier has come in one place.
pub(crate) struct Reached {
    pub position: Position,
    offset: i64,
    at: i64,
    counted: (u64, u64),
}

impl Reached {
    /// Position, offset, and the server's time of a tier in one place; L3's are kept on L2.
    fn of(tier: TierName, mark: Watermark) -> Option<Self> {
        let (position, offset) = if tier == TierName::L3 { mark.l3? } else { (mark.position, mark.offset) };
        let counted = if tier == TierName::L3 { (0, 0) } else { (mark.refreshed, mark.dropped) };
        Some(Reached { position, offset, at: mark.at, counted })
    }
}

/// One look at every lane: what is behind, and how far each has come.
type Look = BTreeMap<(TierName, Place), (i64, Option<Reached>)>;

async fn look(config: &Config, policy: &Policy, tiers: &mut Tiers) -> Result<Look, Failure> {
    let ends = ends(config.kafka()?, policy, config.partitions).await?;
    let mut look = Look::new();
    for group in policy.followed_groups() {
        for partition in 0..config.partitions {
            let place = Place { group: group.name.clone(), partition };
            let (oldest, end) = ends[&place];
            for tier in policy.tiers_of(&group.name) {
                let Some(reached) = tiers.read(tier, &place).await else { continue };
                let behind = end - reached.as_ref().map_or(oldest, |reached| reached.offset.clamp(oldest, end));
                look.insert((tier, place.clone()), (behind, reached));
            }
        }
    }
    Ok(look)
}

async fn read(config: &Config, policy: &Policy) -> Result<Status, Failure> {
    let kafka = config.kafka()?;
    let mut tiers = Tiers::connect(config, policy).await?;
    if let Err(failure) = topics::insist_on_partitions(kafka, policy, config.partitions).await {
        // Without Kafka there is nothing to tell of the tiers that answer.
        return Err(tiers.failure.unwrap_or(failure));
    }
    let (ingest_before, first) = (ingest::Look::first(config).await?, look(config, policy, &mut tiers).await?);
    let began = Instant::now();
    tokio::time::sleep(BETWEEN_LOOKS).await;
    let (ingest_now, second) = (ingest_before.again(config).await?, look(config, policy, &mut tiers).await?);
    let between = began.elapsed().as_secs_f64();
    let ingest = ingest::status(&ingest_before, &ingest_now, between).await;
    // Where nobody has ever audited there is nothing to tell, nor where the topic can't be read.
    let audit = lockstep_audit::kept(config.kafka()?).await.map(|kept| audit::windows(&kept)).unwrap_or_default();
    let switches = switches(config.kafka()?).await;
    let warmer = warmer::read(config.kafka()?).await;
    let mut status = Status {
        ingest,
        warmer,
        unapplied: None,
        refreshed: 0,
        dropped: 0,
        tiers: BTreeMap::new(),
        silent: tiers.silent,
        audit,
        switches: switches.as_ref().map(|switches| switches.on(now_micros()).cloned().collect()).ok(),
    };
    let is_paused = |place: &Place| {
        switches.as_ref().is_ok_and(|switches| switches.pauses(&place.group, place.partition, now_micros()))
    };
    let epoch = status.ingest.position.as_deref().and_then(|position| position.parse::<Position>().ok());
    let is_future = |reached: &Option<Reached>| {
        let later = |reached: &Reached| epoch.is_some_and(|log| reached.position.epoch > log.epoch);
        reached.as_ref().is_some_and(later)
    };
    let is_late = second.values().any(|(behind, _)| *behind > 0);
    let repairs = if is_late { repairs(config.kafka()?, policy, config.partitions).await } else { Repairs::new() };
    let mut slowest: BTreeMap<Place, i64> = BTreeMap::new();
    for ((tier, place), (behind, reached)) in second {
        let Some((behind_before, before)) = first.get(&(tier, place.clone())) else { continue };
        let moves = before.as_ref().map(|reached| reached.position) != reached.as_ref().map(|reached| reached.position);
        let age = reached.as_ref().filter(|reached| reached.at > 0).map(|reached| seconds_since(reached.at));
        if tier != TierName::L3 {
            let slowest = slowest.entry(place.clone()).or_default();
            *slowest = (*slowest).max(behind);
        }
        let repaired = repairs.get(&(tier, place.clone())).copied();
        if let Some(reached) = &reached {
            status.refreshed += reached.counted.0;
            status.dropped += reached.counted.1;
        }
        status.tiers.entry(tier.as_str()).or_default().push(PartitionStatus {
            group: place.group.to_string(),
            partition: place.partition,
            state: match state::of_lane(behind, age, moves, status.ingest.state) {
                _ if is_paused(&place) => State::Paused,
                _ if is_future(&reached) => State::Future,
                State::Behind | State::Current
                    if repaired.is_some_and(|to| reached.as_ref().is_none_or(|at| at.offset < to)) =>
                {
                    State::Repairing
                }
                state => state,
            },
            position: reached.map(|reached| reached.position.to_string()),
            records_behind: behind,
            seconds_behind: age,
            catch_up_seconds: state::catch_up_seconds(*behind_before, behind, between),
        });
    }
    // Of a tier that does not answer nothing is known.
    status.unapplied = status.silent.is_empty().then(|| slowest.values().sum());
    Ok(status)
}

async fn newest_progress(kafka: &KafkaConfig) -> Result<Option<Progress>, Failure> {
    let read = async {
        let mut tail = Tail::open(kafka, "status", topics::PROGRESS, Begin::Newest).await?;
        tail.next_before_end().await
    };
    let newest = read.await.map_err(|error| log_away(kafka, error))?;
    Ok(newest.and_then(|message| Progress::from_json(message.payload().unwrap_or_default()).ok()))
}

fn seconds_since(at: i64) -> f64 {
    (now_micros() - at).max(0) as f64 / 1e6
}

pub(crate) fn log_away(kafka: &KafkaConfig, error: KafkaError) -> Failure {
    Failure::unavailable(format!("can't read the log at {}", kafka.brokers))
        .because(error)
        .remedy("check that Kafka runs there, and that ingest has created the topics")
}

/// Up to which offset a tier is repaired that forgot what it had applied.
type Repairs = BTreeMap<(TierName, Place), i64>;

/// What engines say of it, where they say so. Nothing rests on it but the name of a state.
async fn repairs(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Repairs {
    let groups: Vec<(String, Arc<str>)> =
        policy.followed_groups().map(|group| (topics::of_group(kafka, &group.name), group.name.clone())).collect();
    let kafka = kafka.clone();
    let fetch = move || {
        let mut repairs = Repairs::new();
        for tier in TierName::INSIDE_OUT {
            let mut config = topics::reader(&kafka, "status");
            config.set("group.id", topics::own_name(&kafka, tier.as_str()));
            let consumer: BaseConsumer = config.create()?;
            let mut wanted = TopicPartitionList::new();
            for (topic, _) in &groups {
                wanted.add_partition_range(topic, 0, partitions as i32 - 1);
            }
            let committed = consumer.committed_offsets(wanted, METADATA_WAIT_MAX)?;
            for element in committed.elements() {
                let to = element.metadata().strip_prefix(topics::REPAIRING).and_then(|to| to.parse().ok());
                let group = groups.iter().find(|(topic, _)| topic == element.topic());
                let (Some(to), Some((_, group))) = (to, group) else { continue };
                repairs.insert((tier, Place { group: group.clone(), partition: element.partition() as u32 }), to);
            }
        }
        Ok::<_, KafkaError>(repairs)
    };
    tokio::task::spawn_blocking(fetch).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// The oldest and the end offset of each partition that lanes follow.
async fn ends(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<BTreeMap<Place, (i64, i64)>, Failure> {
    let (names, config) = (kafka.clone(), topics::reader(kafka, "status"));
    let groups: Vec<Arc<str>> = policy.followed_groups().map(|group| group.name.clone()).collect();
    let fetch = move || {
        let consumer: BaseConsumer = config.create()?;
        let mut ends = BTreeMap::new();
        for group in groups {
            let topic = topics::of_group(&names, &group);
            for partition in 0..partitions {
                let bounds = consumer.fetch_watermarks(&topic, partition as i32, METADATA_WAIT_MAX)?;
                ends.insert(Place { group: group.clone(), partition }, bounds);
            }
        }
        Ok::<_, KafkaError>(ends)
    };
    let fetched = tokio::task::spawn_blocking(fetch).await.map_err(|_| Failure::internal("asking Kafka panicked"))?;
    fetched.map_err(|error| log_away(kafka, error))
}
