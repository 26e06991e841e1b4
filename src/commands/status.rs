//! `lockstep status`: how far each tier has come, read from the tiers and the log themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::topics;
use lockstep_tiers::{Layout, Place, Tier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::output;

const METADATA_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Status {
    /// Records behind of the slowest tier of each partition, summed.
    unapplied: i64,
    refreshed: u64,
    dropped: u64,
    tiers: BTreeMap<&'static str, Vec<PartitionStatus>>,
}

#[derive(Serialize)]
struct PartitionStatus {
    group: String,
    partition: u32,
    /// `null`: the tier is unknown, nothing has been applied there.
    position: Option<String>,
    records_behind: i64,
    seconds_behind: Option<f64>,
}

pub(crate) async fn run(config: &Config, policy: &Policy, format: OutputFormat) -> anyhow::Result<()> {
    let status = read(config, policy).await?;
    match format {
        OutputFormat::Json => output::line(&serde_json::to_string(&status)?),
        OutputFormat::Text => print(&status),
    }
    Ok(())
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
        Ok(Watermarks { l1, l2: Tier::node(TierName::L2, config.l2()?, layout).await? })
    }

    /// Position, offset, and the server's time of a tier in one place; L3's are kept on L2.
    pub async fn read(&self, tier: TierName, place: &Place) -> Result<Option<Reached>, Failure> {
        let on = if tier == TierName::L1 { &self.l1 } else { &self.l2 };
        let mark = on
            .watermark(place)
            .await
            .map_err(|error| Failure::unavailable(format!("{}: {error}", on.name.as_str())))?;
        Ok(mark.and_then(|mark| {
            let (position, offset) = if tier == TierName::L3 { mark.l3? } else { (mark.position, mark.offset) };
            let counted = if tier == TierName::L3 { (0, 0) } else { (mark.refreshed, mark.dropped) };
            Some(Reached { position, offset, at: mark.at, counted })
        }))
    }
}

/// How far a tier has come in one place.
pub(crate) struct Reached {
    pub position: lockstep_schemas::position::Position,
    offset: i64,
    at: i64,
    counted: (u64, u64),
}

async fn read(config: &Config, policy: &Policy) -> Result<Status, Failure> {
    let watermarks = Watermarks::connect(config, policy).await?;
    let ends = ends(config.kafka()?, policy, config.partitions).await?;
    let mut status = Status { unapplied: 0, refreshed: 0, dropped: 0, tiers: BTreeMap::new() };
    for group in policy.followed_groups() {
        for partition in 0..config.partitions {
            let place = Place { group: group.name.clone(), partition };
            let (oldest, end) = ends[&place];
            let mut slowest = 0;
            for tier in policy.tiers_of(&group.name) {
                let reached = watermarks.read(tier, &place).await?;
                let behind = end - reached.as_ref().map_or(oldest, |reached| reached.offset.clamp(oldest, end));
                if tier != TierName::L3 {
                    slowest = slowest.max(behind);
                }
                if let Some(reached) = &reached {
                    status.refreshed += reached.counted.0;
                    status.dropped += reached.counted.1;
                }
                let at = reached.as_ref().map(|reached| reached.at);
                status.tiers.entry(tier.as_str()).or_default().push(PartitionStatus {
                    group: group.name.to_string(),
                    partition,
                    position: reached.map(|reached| reached.position.to_string()),
                    records_behind: behind,
                    seconds_behind: at.filter(|at| *at > 0).map(|at| (now_micros() - at).max(0) as f64 / 1e6),
                });
            }
            status.unapplied += slowest;
        }
    }
    Ok(status)
}

/// The oldest and the end offset of each partition that lanes follow.
async fn ends(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<BTreeMap<Place, (i64, i64)>, Failure> {
    let config = topics::reader(kafka, "status");
    let groups: Vec<Arc<str>> = policy.followed_groups().map(|group| group.name.clone()).collect();
    let fetch = move || {
        let consumer: BaseConsumer = config.create()?;
        let mut ends = BTreeMap::new();
        for group in groups {
            for partition in 0..partitions {
                let bounds =
                    consumer.fetch_watermarks(&topics::of_group(&group), partition as i32, METADATA_WAIT_MAX)?;
                ends.insert(Place { group: group.clone(), partition }, bounds);
            }
        }
        Ok::<_, KafkaError>(ends)
    };
    let fetched = tokio::task::spawn_blocking(fetch).await.map_err(Failure::internal)?;
    fetched.map_err(|error| {
        Failure::unavailable(format!("can't read the log at {}", kafka.brokers))
            .because(error)
            .remedy("check that Kafka runs there, and that ingest has created the topics")
    })
}

fn print(status: &Status) {
    output::line("tier  group        partition  position                       records behind  seconds behind");
    for (tier, partitions) in &status.tiers {
        for one in partitions {
            let seconds = one.seconds_behind.map_or("-".to_owned(), |seconds| format!("{seconds:.1}"));
            output::line(&format!(
                "{tier:<4}  {:<11}  {:>9}  {:<29}  {:>14}  {seconds:>14}",
                one.group,
                one.partition,
                one.position.as_deref().unwrap_or("unknown"),
                one.records_behind
            ));
        }
    }
    output::line(&format!(
        "{} records unapplied; {} entries refreshed in place, {} dropped",
        status.unapplied, status.refreshed, status.dropped
    ));
}
