//! Whether the source moves and a watermark does not, how old each tier is, and how fast the walks may go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_process::{Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use tokio::sync::watch::{self, Receiver};

use crate::AuditError;
use crate::judge::Mark;
use crate::nodes::Node;
use crate::pace::{Load, SECONDS_PER_COPY_AT_FIRST, share};
use crate::shared::Shared;
use crate::stalls::{Pace, Stalls};
use crate::ways::Ways;

const LOOK_PAUSE: Duration = Duration::from_secs(3);
/// Partitions of all tiers that have series of their own; of more, a topic's worst one stands for all.
const PARTITION_SERIES_MAX: usize = 600;
/// Who complains, in `/readyz`.
const WHO: &str = "audit";

/// Follows ingest's progress.
pub(crate) fn progress(follower: &Follower) -> Receiver<Option<Progress>> {
    let (tell, newest) = watch::channel(None);
    follower.follow(topics::PROGRESS, Begin::Newest, move |message| {
        if let Ok(progress) = Progress::from_json(message.payload().unwrap_or_default()) {
            tell.send_replace(Some(progress));
        }
    });
    newest
}

/// Looks until shutdown.
pub(crate) async fn watch(
    shared: Arc<Shared>,
    kafka: KafkaConfig,
    metrics: Metrics,
    progress: Receiver<Option<Progress>>,
    shutdown: Shutdown,
) {
    let (began, loads) = (Instant::now(), Vec::new());
    let marks = TierName::INSIDE_OUT.map(|tier| shared.auditor.names.marks(&shared.auditor.policy, tier));
    let has_series = marks.iter().map(Vec::len).sum::<usize>() <= PARTITION_SERIES_MAX;
    let mut watcher = Watcher {
        shared: &shared,
        kafka: &kafka,
        began,
        stalls: Stalls::default(),
        loads,
        ways: Ways::default(),
        positions: HashMap::new(),
        known: HashMap::new(),
        of_edge: HashMap::new(),
        has_series,
        seconds_per_copy: SECONDS_PER_COPY_AT_FIRST,
    };
    watcher.tell_bounds();
    loop {
        let newest = progress.borrow().clone();
        match watcher.look(newest.as_ref()).await {
            Ok(stalled) => metrics.complain(WHO, stalled),
            Err(error) => {
                shared.metrics.failures.inc();
                tracing::warn!(%error, "the watermarks can't be looked at; trying again");
                metrics.complain(WHO, Some(error.to_string()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_PAUSE) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

struct Watcher<'s> {
    shared: &'s Shared,
    kafka: &'s KafkaConfig,
    began: Instant,
    stalls: Stalls,
    /// What each server had done at the look before: name, when, how much.
    loads: Vec<(String, Instant, u64)>,
    ways: Ways,
    /// Where the watermarks in Redis were at the look before.
    positions: HashMap<String, Position>,
    /// The watermarks as they were last read.
    known: HashMap<String, Mark>,
    /// The edge's watermarks, as they came with L2's in this look.
    of_edge: HashMap<String, Option<Mark>>,
    /// Whether each partition has series of its own.
    has_series: bool,
    /// What one copy costs the database.
    seconds_per_copy: f64,
}

/// The watermarks of a tier by their names; `None`: it did not answer.
type Found = Option<HashMap<String, Option<Mark>>>;

/// What is seen of one tier in one look.
#[derive(Default)]
struct Seen {
    stalled: i64,
    oldest_at: Option<i64>,
    by_topic: BTreeMap<String, Worst>,
}

/// A topic's worst partitions.
#[derive(Default)]
struct Worst {
    oldest_at: Option<i64>,
    records: i64,
}

impl Watcher<'_> {
    /// One look: what stands still or does not answer, if anything does.
    async fn look(&mut self, progress: Option<&Progress>) -> Result<Option<String>, AuditError> {
        let database = self.shared.auditor.rows.now().await?;
        let now = self.began.elapsed();
        let busy = self.busy(database.busy_micros);
        self.stalls.source_at(now, database.position);
        let (mut wrong, mut stalled) = (Vec::new(), Vec::new());
        let of_ingest = self.stalls.follower_at(now, "ingest", progress.map(|progress| progress.position));
        self.shared.metrics.stalled("ingest", i64::from(of_ingest == Pace::Stalled));
        if of_ingest == Pace::Stalled {
            stalled.push("ingest".to_owned());
        }
        let mut ways = std::mem::take(&mut self.ways);
        for tier in TierName::INSIDE_OUT {
            // One that does not answer hides no other; what is known of it grows old meanwhile.
            let found = match self.found(tier, &mut ways, busy).await {
                Ok(found) => found,
                Err(error) => {
                    ways.forget(tier);
                    tracing::warn!(tier = tier.as_str(), %error, "watermarks can't be looked at; trying again");
                    self.shared.metrics.failures.inc();
                    wrong.push(format!("{}: {error}", tier.as_str()));
                    None
                }
            };
            let seen = self.tier(tier, found, now, progress);
            self.tell(tier, &seen);
            if seen.stalled > 0 {
                stalled.push(format!("{} in {} partitions", tier.as_str(), seen.stalled));
            }
        }
        self.ways = ways;
        if !stalled.is_empty() {
            wrong.push(format!("the source moves, and these stand still: {}", stalled.join(", ")));
        }
        Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
    }

    /// A tier's watermarks by their names; and how fast it may be looked at, by what its nodes do.
    async fn found(&mut self, tier: TierName, ways: &mut Ways, busy: f64) -> Result<Found, AuditError> {
        let nodes = ways.to(&self.shared.auditor, tier).await?;
        let marks = self.shared.auditor.names.marks(&self.shared.auditor.policy, tier);
        let mut found = HashMap::new();
        for node in nodes.iter_mut() {
            let here: Vec<&str> = marks.iter().map(|(_, _, name)| &**name).filter(|name| node.has(name)).collect();
            let marks = self.marks(tier, node, here.clone()).await?;
            found.extend(here.into_iter().map(str::to_owned).zip(marks));
        }
        let mut commands = 0.0;
        for node in nodes.iter_mut() {
            if let Some(done) = node.commands().await {
                commands += self.per_second(&format!("{} {}", tier.as_str(), node.name), done);
            }
        }
        self.allow(tier, commands, busy);
        Ok(Some(found))
    }

    /// What a tier's watermarks say; `found` is `None` where it did not answer.
    fn tier(&mut self, tier: TierName, mut found: Found, now: Duration, progress: Option<&Progress>) -> Seen {
        let mut seen = Seen::default();
        for (group, partition, name) in self.shared.auditor.names.marks(&self.shared.auditor.policy, tier) {
            let of = format!("{} {name}", tier.as_str());
            let mark = match &mut found {
                Some(found) => found.remove(&name).flatten(),
                None => self.known.get(&of).cloned(),
            };
            let position: Option<Position> = mark.as_ref().map(|mark| mark.position);
            seen.stalled += i64::from(self.stalls.follower_at(now, &of, position) == Pace::Stalled);
            // L3's is lowered on purpose where a tier beneath it forgot.
            if tier != TierName::L3 && self.went_back(of.clone(), position) {
                self.shared.metrics.regressed(tier.as_str(), "watermark");
            }
            // Of one that is gone, or can't be read, the last that was known grows old.
            if let Some(mark) = mark {
                self.known.insert(of.clone(), mark);
            }
            let Some(mark) = self.known.get(&of) else { continue };
            let topic = topics::of_group(self.kafka, &group);
            let worst = seen.by_topic.entry(topic.clone()).or_default();
            let at = Some(mark.at).filter(|at| *at > 0);
            worst.oldest_at = worst.oldest_at.into_iter().chain(at).min();
            seen.oldest_at = seen.oldest_at.into_iter().chain(at).min();
            let next = progress.and_then(|progress| progress.next_of(&group, i32::try_from(partition).ok()?));
            let lag = next.map_or(0, |next| (next - mark.offset).max(0));
            worst.records = worst.records.max(lag);
            if self.has_series {
                let of = topics::own_name(self.kafka, tier.as_str());
                self.shared.metrics.lag(&of, &topic, partition, lag, at.map(age));
            }
        }
        seen
    }

    /// The edge's watermarks lie beside L2's, and come with them.
    async fn marks(
        &mut self,
        tier: TierName,
        node: &mut Node,
        names: Vec<&str>,
    ) -> Result<Vec<Option<Mark>>, AuditError> {
        let known: Option<Vec<_>> = names.iter().map(|name| self.of_edge.remove(*name)).collect();
        if let (TierName::L3, Some(known)) = (tier, known) {
            return Ok(known);
        }
        let marks = node.marks_of_both(&names).await?;
        if tier == TierName::L2 {
            let of_edge = names.iter().zip(&marks).map(|(name, (_, of_edge))| ((*name).to_owned(), of_edge.clone()));
            self.of_edge.extend(of_edge);
        }
        Ok(marks.into_iter().map(|(own, of_edge)| if tier == TierName::L3 { of_edge } else { own }).collect())
    }

    fn tell(&self, tier: TierName, seen: &Seen) {
        let metrics = &self.shared.metrics;
        metrics.stalled(tier.as_str(), seen.stalled);
        if let Some(at) = seen.oldest_at {
            metrics.age(tier.as_str(), age(at));
        }
        for (topic, worst) in &seen.by_topic {
            let group = topics::own_name(self.kafka, tier.as_str());
            metrics.lag_max(&group, topic, worst.records, worst.oldest_at.map(age));
        }
    }

    /// Whether a watermark is behind where it was at the look before, or gone.
    fn went_back(&mut self, name: String, position: Option<Position>) -> bool {
        let position = position.unwrap_or(Position::LEAST);
        self.positions.insert(name, position).is_some_and(|before| position < before)
    }

    /// How fast a tier may be looked at, by what it does for others and what we send to it beside the walks.
    fn allow(&mut self, tier: TierName, commands: f64, busy: f64) {
        let name = tier.as_str();
        let spent = self.shared.auditor.spent(tier).so_far();
        let walked = self.shared.walked(tier);
        let (ours, walks) = (
            self.per_second(&format!("sent to {name}"), spent),
            self.per_second(&format!("walked over {name}"), walked),
        );
        let beside = if tier == TierName::L3 { 0.0 } else { (ours - walks).max(0.0) };
        let load = Load { commands: (commands - ours).max(0.0), busy, seconds_per_copy: self.seconds_per_copy, beside };
        let (floor, needed) = (self.shared.config.copies_per_second_min, self.shared.needed(tier));
        self.shared.allow(tier, share(load, floor, needed));
        if tier != TierName::L3 {
            self.shared.metrics.commanded(name, spent);
        }
    }

    /// Seconds a second that the database works for others. What a copy of ours costs it is measured anew.
    fn busy(&mut self, micros: u64) -> f64 {
        let (copies, ours) = self.shared.auditor.rows.spent();
        let all = self.per_second("the database", micros);
        let (copies, ours) = (self.per_second("copies", copies), self.per_second("statements", ours));
        if copies > 0.0 {
            self.seconds_per_copy = ours / 1e6 / copies;
        }
        (all - ours).max(0.0) / 1e6
    }

    /// The tightest bound of each tier's views stands beside its age.
    fn tell_bounds(&self) {
        for tier in TierName::INSIDE_OUT {
            let views = self.shared.auditor.policy.views.values().filter(|view| view.tier == tier);
            let bound = views.filter_map(|view| Some(view.staleness?.bound)).min();
            if let Some(bound) = bound {
                self.shared.metrics.bound(tier.as_str(), bound.as_secs_f64());
            }
        }
    }

    /// How much a server does a second, since the look before; 0 at the first.
    fn per_second(&mut self, server: &str, done: u64) -> f64 {
        let now = Instant::now();
        match self.loads.iter_mut().find(|(name, _, _)| name == server) {
            Some(known) => {
                let seconds = (now - known.1).as_secs_f64().max(0.001);
                let rate = done.saturating_sub(known.2) as f64 / seconds;
                (known.1, known.2) = (now, done);
                rate
            }
            None => {
                self.loads.push((server.to_owned(), now, done));
                0.0
            }
        }
    }
}

/// Seconds since a time of the database's, microseconds since 1970.
fn age(at: i64) -> f64 {
    (now_micros() - at).max(0) as f64 / 1e6
}
