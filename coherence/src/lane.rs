//! A lane: the ordered flow of one partition's changes into the tiers.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::retry::Pauses;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_source::gate::Verdict;
use lockstep_tiers::tier::nonce;
use lockstep_tiers::{Action, Applied, Apply, Outward, Place};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::fold::Chunk;
use crate::open::{OpenError, Opened, Shared, TierLane, open};
use crate::purge::Purges;
use crate::refill::Mine;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};

/// Records that wait for a lane before its partition is paused.
pub(crate) const INBOX_MAX: usize = 2_000;
/// Records of one round of work.
const ROUND_MAX: usize = 500;
/// The watermark moves without actions this often, where the partition had changes, and where it had none.
const MOVE_ACTIVE: Duration = Duration::from_millis(100);
const MOVE_IDLE: Duration = Duration::from_secs(1);

/// What a lane asks of the pump.
pub(crate) enum Request {
    /// Read the partition from this offset, into this inbox.
    Start { lane: (String, i32), offset: i64, inbox: mpsc::Sender<RawRecord> },
    /// Somebody else owns the partition: join the group anew.
    Rejoin,
}

/// Why a lane stops doing what it does.
enum Turn {
    /// Shutdown, or the partition was revoked.
    Stop,
    /// A tier forgot: begin again from its watermark.
    Back,
    /// A record can't be read: begin again behind it, with a raised floor.
    Skip { next_offset: i64 },
    /// Another owner.
    Rejoin,
}

/// A lane's identity and means.
pub(crate) struct Lane {
    pub shared: Arc<Shared>,
    pub topic: String,
    pub place: Place,
    pub requests: mpsc::Sender<Request>,
    pub stop: Shutdown,
}

impl Lane {
    /// Runs until it is told to stop.
    pub async fn run(self) {
        let mut lost_from = None;
        loop {
            let Some(opened) = self.opened(lost_from.take()).await else { return };
            let (inbox, records) = mpsc::channel(INBOX_MAX);
            let lane = (self.topic.clone(), self.place.partition as i32);
            if self.requests.send(Request::Start { lane, offset: opened.start, inbox }).await.is_err() {
                return;
            }
            match self.flow(opened, records).await {
                Turn::Stop => return,
                Turn::Back => {}
                Turn::Skip { next_offset } => lost_from = Some(next_offset),
                Turn::Rejoin => {
                    // The pump stops this lane when it leaves the group.
                    let _ = self.requests.send(Request::Rejoin).await;
                    self.stop.cancelled().await;
                    return;
                }
            }
        }
    }

    async fn opened(&self, lost_from: Option<i64>) -> Option<Opened> {
        let mut pauses = Pauses::default();
        loop {
            let attempt = tokio::select! {
                attempt = open(&self.shared, &self.topic, &self.place, lost_from) => attempt,
                () = self.stop.cancelled() => return None,
            };
            match attempt {
                Ok(opened) => return Some(opened),
                Err(OpenError::Shut) => return None,
                Err(error) => {
                    tracing::warn!(group = %self.place.group, partition = self.place.partition, %error, "the lane can't begin yet");
                }
            }
            if !pauses.wait(&self.stop).await {
                return None;
            }
        }
    }

    /// One life of the lane, from its opening to a turn.
    async fn flow(&self, opened: Opened, records: mpsc::Receiver<RawRecord>) -> Turn {
        let life = self.stop.child_token();
        let purges = opened.owner.as_ref().map(|_| {
            let (edge, response_max) = (self.shared.edge.clone(), self.shared.response_max);
            Purges::start(edge, response_max, self.partition_tag(), life.clone())
        });
        let seen = opened.tiers.iter().map(|lane| lane.expect).min().unwrap_or_default();
        let mut flow = Flow {
            lane: self,
            reader: RecordReader::new(self.shared.registry.clone()),
            next: opened.start,
            // What L3 still has to purge lies before what the tiers have applied: it is planned again, and applied
            // nowhere but at the edge.
            seen: if opened.owner.is_some() { Position::LEAST } else { seen },
            tiers: opened.tiers,
            owner: opened.owner,
            purges,
            told: None,
            had_changes: true,
        };
        if let Some(purges) = flow.purges.as_ref().filter(|_| opened.purge_all) {
            purges.push((seen, opened.start), &[self.partition_tag()].into());
        }
        let turn = flow.run(records).await;
        life.cancel();
        turn
    }

    fn partition_tag(&self) -> String {
        format!("{}.{}", self.place.group, self.place.partition)
    }
}

/// A lane at work.
struct Flow<'l> {
    lane: &'l Lane,
    reader: RecordReader,
    /// The next offset of the log.
    next: i64,
    /// The newest position that was planned.
    seen: Position,
    tiers: Vec<TierLane>,
    owner: Option<String>,
    purges: Option<Purges>,
    /// L3's position as the tier has it from us.
    told: Option<(Position, i64)>,
    had_changes: bool,
}

impl Flow<'_> {
    async fn run(&mut self, mut records: mpsc::Receiver<RawRecord>) -> Turn {
        let stop = self.lane.stop.clone();
        let mut tick = tokio::time::interval(MOVE_ACTIVE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut round = Vec::with_capacity(ROUND_MAX);
        loop {
            let worked = tokio::select! {
                biased;
                () = stop.cancelled() => return Turn::Stop,
                count = records.recv_many(&mut round, ROUND_MAX) => {
                    if count == 0 {
                        return Turn::Stop;
                    }
                    self.round(std::mem::take(&mut round)).await
                }
                _ = tick.tick() => self.follow_progress().await,
            };
            if let Err(turn) = worked {
                return turn;
            }
        }
    }

    async fn round(&mut self, records: Vec<RawRecord>) -> Result<(), Turn> {
        let mut chunk = Chunk::default();
        for record in records {
            if record.offset < self.next {
                continue;
            }
            if record.offset > self.next {
                // The log was cut before our place.
                tracing::warn!(topic = %self.lane.topic, expected = self.next, got = record.offset, "records are gone from the log");
                return Err(Turn::Skip { next_offset: record.offset });
            }
            let event = match self.reader.read(&record).await {
                Ok(event) => event,
                Err(why) => {
                    tracing::error!(topic = %self.lane.topic, partition = self.lane.place.partition, offset = record.offset, %why,
                        "a record that can't be read is skipped; entries of its partition are dropped in its stead");
                    return Err(Turn::Skip { next_offset: record.offset + 1 });
                }
            };
            if !chunk.has_room() {
                self.apply(std::mem::take(&mut chunk)).await?;
            }
            self.take_in(event, &mut chunk);
            self.next = record.offset + 1;
            chunk.next_offset = self.next;
        }
        if chunk.is_empty() { Ok(()) } else { self.apply(chunk).await }
    }

    fn take_in(&mut self, event: Event, chunk: &mut Chunk) {
        let planner = &self.lane.shared.planner;
        match event {
            Event::Change(change) if change.position > self.seen => {
                self.seen = change.position;
                match planner.effects(&change) {
                    Ok(effects) => chunk.add(change.position, change.xid, change.committed_at, effects),
                    Err(_) => chunk.raise_floor(change.position, Some(change.xid), self.lane.partition_tag()),
                }
            }
            Event::Control(control) if control.position > self.seen => {
                self.seen = control.position;
                let xid = (control.xid != 0).then_some(control.xid);
                chunk.raise_floor(control.position, xid, self.lane.partition_tag());
            }
            // Published twice, after a restart of ingest: ordinary.
            Event::Change(_) | Event::Control(_) | Event::Nothing => {}
        }
    }

    /// Gates a chunk, then applies it from the inside out.
    async fn apply(&mut self, mut chunk: Chunk) -> Result<(), Turn> {
        let stop = self.lane.stop.clone();
        let verdict = tokio::select! {
            verdict = self.lane.shared.gate.pass(chunk.passage()) => verdict.map_err(|_| Turn::Stop)?,
            () = stop.cancelled() => return Err(Turn::Stop),
        };
        if verdict == Verdict::OlderEpoch {
            chunk.only_invalidate();
        }
        self.had_changes = true;
        let timeline = self.timeline();
        for at in 0..self.tiers.len() {
            let (name, expect) = (self.tiers[at].tier.name, self.tiers[at].expect);
            if chunk.through <= expect {
                continue;
            }
            let entries = chunk.actions(name);
            let actions: Vec<(Key, Action)> =
                entries.iter().map(|entry| (entry.key.clone(), entry.action.clone())).collect();
            let engine = nonce();
            let call = Call {
                new: chunk.through,
                offset: chunk.next_offset,
                floor: chunk.floor,
                timeline: &timeline,
                at: chunk.committed_at,
                nonce: &engine,
                actions: &actions,
                begun: !chunk.tags.is_empty(),
            };
            let mine = self.call(at, &call).await?;
            self.refill(&chunk, name, &mine, &engine);
        }
        if let Some(purges) = &self.purges {
            purges.push((chunk.through, chunk.next_offset), &chunk.tags);
        }
        Ok(())
    }

    /// Hands entries that somebody wants to the engine's own filling.
    fn refill(&self, chunk: &Chunk, tier: TierName, mine: &[usize], nonce: &str) {
        let entries = chunk.actions(tier);
        let mut wanted: Vec<Mine> = Vec::new();
        for entry in mine.iter().filter_map(|at| entries.get(*at)) {
            match wanted.iter_mut().find(|mine| mine.view.name == entry.view.name) {
                Some(mine) => mine.entities.push(entry.entity.clone()),
                None => wanted.push(Mine {
                    view: entry.view.clone(),
                    entities: vec![entry.entity.clone()],
                    nonce: nonce.to_owned(),
                    low: chunk.through,
                }),
            }
        }
        wanted.into_iter().for_each(|mine| self.lane.shared.refill.start(self.lane.place.clone(), mine));
    }

    /// Moves the watermark without actions where progress allows it. That also finds a node that silently forgot.
    async fn follow_progress(&mut self) -> Result<(), Turn> {
        let Some(progress) = self.lane.shared.progress.borrow().clone() else { return Ok(()) };
        let consumed = progress.next_of(&self.lane.place.group, self.lane.place.partition as i32);
        if consumed.is_none_or(|next| next > self.next) || progress.position < self.seen {
            return Ok(());
        }
        let wait = if self.had_changes { MOVE_ACTIVE } else { MOVE_IDLE };
        let now = Instant::now();
        let timeline = self.timeline();
        for at in 0..self.tiers.len() {
            if now.duration_since(self.tiers[at].moved_at) < wait {
                return Ok(());
            }
            self.tiers[at].moved_at = now;
            self.move_to(at, &progress, &timeline).await?;
        }
        self.had_changes = false;
        if let Some(purges) = &self.purges {
            purges.push((progress.position.max(self.seen), self.next), &Default::default());
        }
        Ok(())
    }

    async fn move_to(&mut self, at: usize, progress: &Progress, timeline: &str) -> Result<(), Turn> {
        let new = progress.position.max(self.tiers[at].expect);
        let call = Call {
            new,
            offset: self.next,
            floor: None,
            timeline,
            at: progress.at,
            nonce: "",
            actions: &[],
            begun: false,
        };
        self.call(at, &call).await.map(drop)
    }

    fn timeline(&self) -> String {
        self.lane.shared.gate.state().epoch.map(|epoch| epoch.timeline).unwrap_or_default()
    }

    /// Calls a tier until it answers. Returns the indices of entries that are now ours to fill.
    async fn call(&mut self, at: usize, call: &Call<'_>) -> Result<Vec<usize>, Turn> {
        let mut pauses = Pauses::default();
        let done =
            self.purges.as_ref().and_then(|purges| *purges.done.borrow()).filter(|done| self.told != Some(*done));
        let mut silent = false;
        loop {
            let lane = &mut self.tiers[at];
            let carries = lane.tier.name == TierName::L2 && self.owner.is_some();
            let outward = self.owner.as_ref().filter(|_| carries).map(|owner| Outward {
                owner,
                begun: call.begun.then_some(call.new),
                done,
            });
            let batch = Apply {
                expect: lane.expect,
                new: call.new,
                offset: call.offset,
                floor: call.floor,
                timeline: call.timeline,
                at: call.at,
                nonce: call.nonce,
                actions: call.actions,
                outward,
            };
            let answer = lane.tier.apply(&self.lane.place, &batch).await;
            match answer {
                Ok(Applied::Ok { mine, .. }) => {
                    self.landed(at, call);
                    if carries {
                        self.told = done.or(self.told);
                    }
                    return Ok(mine);
                }
                Ok(Applied::Lost { position, .. }) if lane.unseen.contains(&position) => {
                    // A call of ours landed whose answer we never saw.
                    lane.expect = position;
                    lane.unseen.clear();
                    if position == call.new {
                        self.landed(at, call);
                        return Ok(Vec::new());
                    }
                }
                Ok(Applied::Lost { position, .. }) => return Err(self.lost(at, position)),
                Err(error) => {
                    if !silent {
                        silent = true;
                        tracing::warn!(tier = lane.tier.name.as_str(), group = %self.lane.place.group, partition = self.lane.place.partition, %error, "the tier does not answer; trying again");
                    }
                    lane.unseen.push(call.new);
                    lane.unseen.dedup();
                    if !pauses.wait(&self.lane.stop).await {
                        return Err(Turn::Stop);
                    }
                }
            }
        }
    }

    fn landed(&mut self, at: usize, call: &Call<'_>) {
        let lane = &mut self.tiers[at];
        lane.expect = call.new;
        lane.unseen.clear();
        let (topic, partition) = (&self.lane.topic, self.lane.place.partition as i32);
        self.lane.shared.reached.set(lane.tier.name, topic, partition, call.offset);
        if let Some((_, offset)) = self.purges.as_ref().and_then(|purges| *purges.done.borrow()) {
            self.lane.shared.reached.set(TierName::L3, topic, partition, offset);
        }
    }

    /// The watermark is neither where we left it nor where we sent it.
    fn lost(&self, at: usize, position: Position) -> Turn {
        let lane = &self.tiers[at];
        let (tier, group, partition) = (lane.tier.name.as_str(), &self.lane.place.group, self.lane.place.partition);
        if position > lane.expect {
            tracing::warn!(tier, %group, partition, %position, expected = %lane.expect, "another engine moved the watermark; leaving it the partition");
            return Turn::Rejoin;
        }
        tracing::warn!(tier, %group, partition, %position, expected = %lane.expect, "the tier forgot what it had applied; applying it again");
        Turn::Back
    }
}

/// A call to a tier, whatever its `expect`.
struct Call<'c> {
    new: Position,
    offset: i64,
    floor: Option<Position>,
    timeline: &'c str,
    at: i64,
    nonce: &'c str,
    actions: &'c [(Key, Action)],
    begun: bool,
}
