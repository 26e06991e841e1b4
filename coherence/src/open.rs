//! How a lane begins, and begins again: from the watermarks that it finds on the tiers (docs/protocol.md, [4c]).

use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_source::gate::{Gate, GateShut};
use lockstep_tiers::tier::nonce;
use lockstep_tiers::{Applied, Apply, Edge, Place, Tier, TierError, Tiers, Watermark};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use crate::lag::Reached;
use crate::refill::Refill;

const BOUNDS_WAIT_MAX: Duration = Duration::from_secs(10);

/// What all lanes share.
pub(crate) struct Shared {
    pub policy: Arc<Policy>,
    pub planner: crate::plan::Planner,
    pub tiers: Tiers,
    pub edge: Edge,
    pub response_max: Duration,
    pub gate: Gate,
    pub progress: tokio::sync::watch::Receiver<Option<lockstep_schemas::progress::Progress>>,
    pub registry: lockstep_schemas::registry::LiveRegistry,
    pub offsets: Arc<BaseConsumer>,
    pub reached: Reached,
    pub refill: Refill,
    /// Records passed over that had been planned before: after a restart of ingest, or by one that slept and woke.
    pub repeated: Counter,
}

/// One tier's side of a lane.
pub(crate) struct TierLane {
    pub tier: Tier,
    /// Where the watermark is, as far as we know.
    pub expect: Position,
    /// Where calls would have moved it whose answers we never saw.
    pub unseen: Vec<Position>,
    /// When it last moved without actions.
    pub moved_at: tokio::time::Instant,
}

/// A lane that may run.
pub(crate) struct Opened {
    pub tiers: Vec<TierLane>,
    /// The log is to be read from here.
    pub start: i64,
    /// Owner of L3's position, where the group has views there.
    pub owner: Option<String>,
    /// Whether everything of the partition must be purged, since what changed is not known.
    pub purge_all: bool,
}

/// A lane can't begin yet.
#[derive(Debug)]
pub(crate) enum OpenError {
    Tier(TierError),
    Kafka(KafkaError),
    Shut,
    /// The watermark moved while we looked: another owner is still at work.
    Moved,
    /// A tier is ahead of the newest epoch.
    Future {
        tier: TierName,
        position: Position,
        epoch: u16,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Tier(error) => error.fmt(f),
            OpenError::Kafka(error) => error.fmt(f),
            OpenError::Shut => f.write_str("the engine is stopping"),
            OpenError::Moved => f.write_str("another engine still moves the watermark"),
            OpenError::Future { tier, position, epoch } => write!(
                f,
                "{} has applied {position}, of a later epoch than the database's {epoch} (state: future); \
                 was the database restored from a backup? start ingest, which begins a new epoch, or flush the tier",
                tier.as_str()
            ),
        }
    }
}

impl From<TierError> for OpenError {
    fn from(error: TierError) -> Self {
        OpenError::Tier(error)
    }
}

impl From<GateShut> for OpenError {
    fn from(_: GateShut) -> Self {
        OpenError::Shut
    }
}

/// Finds out where the lane of a place stands. `lost_from`: everything of the log before that offset can't be used.
pub(crate) async fn open(
    shared: &Shared,
    topic: &str,
    place: &Place,
    lost_from: Option<i64>,
) -> Result<Opened, OpenError> {
    let (oldest, end) = bounds(shared, topic, place.partition).await?;
    let epoch = shared.gate.epoch().await?;
    let mut lanes = Vec::new();
    let mut start = end;
    let (mut least, mut purge_all) = (Position::GREATEST, false);
    let mut l3_known = None;
    let reached = shared.policy.tiers_of(&place.group);
    for name in reached.iter().copied().filter(|name| *name != TierName::L3) {
        let tier = if name == TierName::L1 { shared.tiers.l1.clone() } else { shared.tiers.l2.clone() };
        let found = tier.watermark(place).await?;
        // An offset is a place in the log of one epoch only: with a new epoch the topic may have been made anew.
        let usable = found.as_ref().filter(|mark| {
            let reachable = (oldest..=end).contains(&mark.offset) && mark.position.epoch == epoch.number;
            reachable && lost_from.is_none_or(|from| mark.offset >= from)
        });
        if let Some(mark) = found.as_ref().filter(|mark| mark.position.epoch > epoch.number) {
            return Err(OpenError::Future { tier: name, position: mark.position, epoch: epoch.number });
        }
        let (position, offset) = match usable {
            Some(mark) => (mark.position, mark.offset),
            None => {
                purge_all = true;
                raise(shared, topic, &tier, place, found.as_ref(), lost_from).await?
            }
        };
        if name == TierName::L2 {
            l3_known = found
                .as_ref()
                .and_then(|mark| mark.l3)
                .filter(|(position, offset)| (oldest..=end).contains(offset) && position.epoch == epoch.number);
        }
        least = least.min(position);
        start = start.min(offset);
        lanes.push(TierLane { tier, expect: position, unseen: Vec::new(), moved_at: tokio::time::Instant::now() });
    }
    let mut owner = None;
    if reached.contains(&TierName::L3) {
        if l3_known.is_none() {
            purge_all = true;
        }
        // An unfinished purge of everything is found again after a crash: L3's position then stays below all others.
        let wanted = if purge_all { (Position::LEAST, start) } else { (least, start) };
        let name = nonce();
        let lane = &lanes[0];
        match lane.tier.own(place, lane.expect, &name, wanted).await? {
            Ok((position, offset)) => {
                purge_all |= position == Position::LEAST;
                start = start.min(offset.max(oldest));
            }
            Err(_) => return Err(OpenError::Moved),
        }
        owner = Some(name);
    }
    Ok(Opened { tiers: lanes, start, owner, purge_all })
}

/// A tier that is unknown, or whose place in the log is gone: from now on nothing older than this moment lives there.
///
/// The end of the log is read before a moment at which all was visible: what comes after it is then either in the log
/// from there on, or visible to every fill from now on. A long transaction delays that moment, and so is waited for here
/// only.
async fn raise(
    shared: &Shared,
    topic: &str,
    tier: &Tier,
    place: &Place,
    found: Option<&Watermark>,
    lost_from: Option<i64>,
) -> Result<(Position, i64), OpenError> {
    let (oldest, end) = bounds(shared, topic, place.partition).await?;
    let settled = shared.gate.settle().await?;
    let offset = lost_from.map_or(end, |from| from.max(oldest));
    let new = Position::before(settled.epoch.number, settled.lsn);
    let expect = found.map_or(Position::LEAST, |mark| mark.position);
    let batch = Apply {
        expect,
        new: new.max(expect),
        offset,
        floor: Some(new),
        timeline: &settled.epoch.timeline,
        at: now_micros(),
        nonce: "",
        actions: &[],
        outward: None,
    };
    tracing::info!(tier = tier.name.as_str(), group = %place.group, partition = place.partition, floor = %new, "floor raised: the tier was unknown, or its place in the log is gone");
    match tier.apply(place, &batch).await? {
        Applied::Ok { .. } => Ok((batch.new, offset)),
        Applied::Lost { .. } => Err(OpenError::Moved),
    }
}

async fn bounds(shared: &Shared, topic: &str, partition: u32) -> Result<(i64, i64), OpenError> {
    let (consumer, topic) = (shared.offsets.clone(), topic.to_owned());
    let fetch = move || consumer.fetch_watermarks(&topic, partition as i32, BOUNDS_WAIT_MAX);
    let fetched = tokio::task::spawn_blocking(fetch).await.unwrap_or(Err(KafkaError::Canceled));
    fetched.map_err(OpenError::Kafka)
}
