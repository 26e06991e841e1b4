//! A lane at work: rounds of records become chunks, chunks become calls, from the inside out.

use lockstep_schemas::change::Change;
use lockstep_schemas::control::Control;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_source::gate::Verdict;
use lockstep_tiers::Action;
use lockstep_tiers::tier::nonce;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::call::Call;
use super::{Lane, MOVE_ACTIVE, MOVE_IDLE, ROUND_MAX, Turn};
use crate::fold::Chunk;
use crate::open::TierLane;
use crate::plan::{Effect, EntryAction, NoEntity};
use crate::purge::Purges;
use crate::refill::Mine;

/// A lane at work.
pub(super) struct Flow<'l> {
    pub(super) lane: &'l Lane,
    pub(super) reader: RecordReader,
    /// The next offset of the log.
    pub(super) next: i64,
    /// The newest position that was planned.
    pub(super) seen: Position,
    pub(super) tiers: Vec<TierLane>,
    pub(super) owner: Option<String>,
    pub(super) purges: Option<Purges>,
    /// L3's position as the tier has it from us.
    pub(super) told: Option<(Position, i64)>,
    pub(super) had_changes: bool,
}

impl Flow<'_> {
    pub(super) async fn run(&mut self, mut records: mpsc::Receiver<RawRecord>) -> Turn {
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
                self.passed(&record).await?;
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
            if let Some(mut step) = self.step(event) {
                step.leave_out(&self.tiers);
                if !chunk.has_room_for(step.effects()) {
                    self.apply(std::mem::take(&mut chunk)).await?;
                }
                step.take_into(&mut chunk, self.lane.partition_tag());
            }
            self.next = record.offset + 1;
            chunk.next_offset = self.next;
        }
        if chunk.is_empty() { Ok(()) } else { self.apply(chunk).await }
    }

    /// A record from before our place. Where it is of a later epoch than all that we know, the log was made anew.
    async fn passed(&mut self, record: &RawRecord) -> Result<(), Turn> {
        let epoch = match self.reader.read(record).await {
            Ok(Event::Change(change)) => change.position.epoch,
            Ok(Event::Control(control)) => control.position.epoch,
            Ok(Event::Nothing) | Err(_) => return Ok(()),
        };
        if epoch > self.known_epoch() { Err(self.made_anew()) } else { Ok(()) }
    }

    fn known_epoch(&self) -> u16 {
        self.tiers.iter().map(|lane| lane.expect.epoch).min().unwrap_or(0).max(self.seen.epoch)
    }

    fn made_anew(&self) -> Turn {
        tracing::warn!(topic = %self.lane.topic, partition = self.lane.place.partition, "the log was made anew; beginning again");
        Turn::Back
    }

    /// What an event asks for; `None` where it was planned before: published twice, after a restart of ingest, is ordinary.
    fn step(&mut self, event: Event) -> Option<Step> {
        match event {
            Event::Change(change) if change.position > self.seen => {
                self.seen = change.position;
                let effects = self.lane.shared.planner.effects(&change);
                Some(Step::Change(change, effects))
            }
            Event::Control(control) if control.position > self.seen => {
                self.seen = control.position;
                Some(Step::Control(control))
            }
            Event::Change(_) | Event::Control(_) => {
                self.lane.shared.repeated.inc();
                None
            }
            Event::Nothing => None,
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
        // A new epoch is announced in every partition before its progress: whoever has consumed it all has seen that.
        if progress.position.epoch > self.known_epoch() {
            return Err(self.made_anew());
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
}

/// What one event asks for.
enum Step {
    Change(Box<Change>, Result<Vec<Effect>, NoEntity>),
    Control(Control),
}

impl Step {
    /// What a tier has applied already is not folded into what it has not: an older value would come with a newer position.
    fn leave_out(&mut self, tiers: &[TierLane]) {
        let Step::Change(change, Ok(effects)) = self else { return };
        let applied = |entry: &EntryAction| {
            let lane = tiers.iter().find(|lane| lane.tier.name == entry.view.tier);
            lane.is_some_and(|lane| change.position <= lane.expect)
        };
        effects.retain(|effect| effect.entry().is_none_or(|entry| !applied(entry)));
    }

    fn effects(&self) -> &[Effect] {
        match self {
            Step::Change(_, Ok(effects)) => effects,
            Step::Change(_, Err(NoEntity)) | Step::Control(_) => &[],
        }
    }

    /// A change whose entity is not in the log concerns any entry of its partition.
    fn take_into(self, chunk: &mut Chunk, partition_tag: String) {
        match self {
            Step::Change(change, Ok(effects)) => chunk.add(change.position, change.xid, change.committed_at, effects),
            Step::Change(change, Err(NoEntity)) => chunk.raise_floor(change.position, Some(change.xid), partition_tag),
            Step::Control(control) => {
                chunk.raise_floor(control.position, (control.xid != 0).then_some(control.xid), partition_tag);
            }
        }
    }
}
