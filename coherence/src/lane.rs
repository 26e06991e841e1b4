//! A lane: the shell around one partition's core. It waits for whatever comes first, hands it to the core, and carries
//! out what the core asks for. It decides nothing.

mod errands;
mod notices;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lockstep_process::Shutdown;
use lockstep_schemas::change::Op;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::record::{self, RawRecord, RecordReader};
use lockstep_schemas::versions::of_name;
use lockstep_tiers::Place;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::event::{Event, LogProgress};
use crate::core::{Core, Setup};
use crate::plan::OfViews;
use crate::purge::Purges;
use crate::shared::Shared;
use errands::Errand;

/// Records that wait for a lane before its partition is paused.
pub(crate) const INBOX_MAX: usize = 2_000;
/// A pause ends by itself, without a word from anybody.
const PAUSE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Records taken from the inbox at once.
const ROUND_MAX: usize = 500;

/// What a lane asks of the pump.
pub(crate) enum Request {
    /// Read the partition from this offset, into this inbox.
    Start { lane: (String, i32), offset: i64, inbox: mpsc::Sender<RawRecord> },
    /// Somebody else owns the partition: join the group anew.
    Rejoin { stop: Shutdown },
}

/// A lane's identity and means.
pub(crate) struct Lane {
    pub shared: Arc<Shared>,
    pub topic: String,
    pub place: Place,
    pub requests: mpsc::Sender<Request>,
    pub stop: Shutdown,
}

/// A lane at work.
struct Shell {
    lane: Lane,
    core: Core,
    began: Instant,
    /// What was asked for, and is under way.
    errands: FuturesUnordered<Errand>,
    reader: RecordReader,
    inbox: Option<mpsc::Receiver<RawRecord>>,
    round: VecDeque<RawRecord>,
    progress: watch::Receiver<Option<Progress>>,
    purges: Option<LifePurges>,
    has_ended: bool,
    /// The versions of views by which it plans.
    versions: OfViews,
    /// It stands at the place from which on a version is kept in step, and has not heard of that version yet.
    unheard: bool,
}

/// The purges of one life of the lane; they end with it.
struct LifePurges {
    life: u64,
    purges: Purges,
    _until: tokio_util::sync::DropGuard,
}

impl Lane {
    /// Runs until it is told to stop, and what was under way has been answered.
    pub async fn run(self) {
        let versions = self.shared.switched.versions();
        let planner = self.shared.plans.at(&versions);
        let setup = Setup::new(self.place.clone(), &self.shared.policy, planner, fastrand::u64(..));
        let (core, commands) = Core::begin(setup);
        let mut progress = self.shared.progress.clone();
        progress.mark_changed();
        let mut shell = Shell {
            reader: RecordReader::new(self.shared.registry.clone()),
            lane: self,
            core,
            began: Instant::now(),
            errands: FuturesUnordered::new(),
            inbox: None,
            round: VecDeque::with_capacity(ROUND_MAX),
            progress,
            purges: None,
            has_ended: false,
            versions,
            unheard: false,
        };
        shell.carry_out(commands).await;
        shell.run().await;
    }
}

impl Shell {
    async fn run(&mut self) {
        let stop = self.lane.stop.clone();
        let mut stopping = false;
        let mut switched = self.lane.shared.switched.clone();
        let mut doubts = self.lane.shared.doubts.subscribe();
        self.replan();
        while !self.has_ended {
            let wake_at = self.began.checked_add(self.core.wake_at());
            if switched.has_changed() {
                self.replan();
            }
            let is_paused = self.is_paused() || self.unheard;
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.step(Event::Stop).await;
                }
                Some(event) = self.errands.next(), if !self.errands.is_empty() => self.step(event).await,
                purged = next_purged(&mut self.purges) => self.step(purged).await,
                Ok(()) = self.progress.changed() => self.hear_progress().await,
                taken = take(&mut self.inbox, &mut self.round), if self.core.wants_records() && !is_paused => {
                    if taken == 0 {
                        // The pump has gone, and with it the partition.
                        self.inbox = None;
                    }
                    self.read_round().await;
                }
                () = switched.changed() => self.replan(),
                Ok(()) = doubts.changed() => self.step(Event::Doubted).await,
                () = tokio::time::sleep(PAUSE_LOOK_INTERVAL), if is_paused => {}
                () = async { tokio::time::sleep_until(wake_at.unwrap_or_else(far)).await } => {
                    self.step(Event::Time(self.began.elapsed())).await;
                }
            }
        }
    }

    async fn step(&mut self, event: Event) {
        let mut commands = self.core.step(Event::Time(self.began.elapsed()));
        commands.extend(self.core.step(event));
        self.carry_out(commands).await;
    }

    /// Whether an operator holds it: what comes waits; the round that was begun is finished.
    fn is_paused(&self) -> bool {
        let place = &self.lane.place;
        self.lane.shared.switched.pauses(&place.group, place.partition)
    }

    /// Hands records over for as long as the core takes them. It hears of a round's end even where it wants no more for now:
    /// the next round may never come, and what it has of this one would wait for it.
    async fn read_round(&mut self) {
        while self.core.wants_records()
            && let Some(record) = self.round.pop_front()
        {
            let read = self.reader.read(&record).await;
            if !is_heard_of(&read, &self.versions) {
                let place = &self.lane.place;
                tracing::info!(group = %place.group, partition = place.partition, "the lane waits until it hears of a version of a view");
                self.unheard = true;
                return self.round.push_front(record);
            }
            if let (Ok(record::Event::Change(change)), Some(published_at)) = (&read, record.published_at)
                && change.op != Op::Read
            {
                let micros = (published_at - change.committed_at).max(0);
                self.lane.shared.metrics.publish.observe(micros as f64 / 1e6);
            }
            let commands = self.core.step(Event::Record(record.offset, read));
            if !commands.is_empty() {
                self.carry_out(commands).await;
            }
        }
        if self.round.is_empty() {
            self.step(Event::RoundOver).await;
        }
    }

    /// Plans by the versions of views that are kept in step now.
    fn replan(&mut self) {
        self.unheard = false;
        let versions = self.lane.shared.switched.versions();
        if versions != self.versions {
            self.core.plan_by(self.lane.shared.plans.at(&versions));
            self.versions = versions;
        }
    }

    async fn hear_progress(&mut self) {
        let Some(progress) = self.progress.borrow_and_update().clone() else { return };
        let next = progress.next_of(&self.lane.place.group, self.lane.place.partition as i32);
        let timeline = self.lane.shared.timeline();
        let heard = LogProgress { position: progress.position, at: progress.at, next, timeline };
        self.step(Event::Progress(heard)).await;
    }
}

/// Whether we know each version that the record speaks of. Who asked for it has said so in the topic of switches before, so
/// we shall; until then nothing behind that place may be planned.
fn is_heard_of(read: &Result<record::Event, String>, versions: &OfViews) -> bool {
    let Ok(record::Event::Invalidation(asked)) = read else { return true };
    let known = |view: &str, version: u32| versions.get(view).is_some_and(|versions| versions.last >= version);
    asked.views.iter().filter_map(|name| of_name(name)).all(|(view, version)| known(view, version))
}

/// Waits for records: those at hand, else the inbox's.
async fn take(inbox: &mut Option<mpsc::Receiver<RawRecord>>, round: &mut VecDeque<RawRecord>) -> usize {
    if !round.is_empty() {
        return round.len();
    }
    let Some(inbox) = inbox else { return std::future::pending().await };
    let mut taken = Vec::with_capacity(ROUND_MAX);
    let count = inbox.recv_many(&mut taken, ROUND_MAX).await;
    round.extend(taken);
    count
}

async fn next_purged(purges: &mut Option<LifePurges>) -> Event {
    if let Some(purges) = purges {
        while purges.purges.done.changed().await.is_ok() {
            if let Some(purged) = *purges.purges.done.borrow_and_update() {
                return Event::Purged(purges.life, purged);
            }
        }
    }
    std::future::pending().await
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}
