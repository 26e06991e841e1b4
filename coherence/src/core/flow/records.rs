//! What comes out of the log, in order: checked against the lane's place, planned, and folded into the chunk that is being
//! built.

use lockstep_schemas::change::Change;
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::invalidation::Invalidation;
use lockstep_schemas::position::Position;
use lockstep_schemas::record;

use super::Flow;
use crate::core::event::Notice;
use crate::core::rule::Rule;
use crate::core::side::Side;
use crate::core::{Means, Turn};
use crate::fold::Chunk;
use crate::plan::{Effect, EntryAction, NoEntity};

impl Flow {
    pub(super) fn record(
        &mut self,
        means: &mut Means,
        offset: i64,
        read: Result<record::Event, String>,
    ) -> Result<(), Turn> {
        (self.round_over, self.heard_at) = (false, means.now);
        let next = self.skips_to.unwrap_or(self.next);
        if offset < next {
            return self.again(read);
        }
        if offset > next {
            means.say(Notice::Gone(next, offset));
            return Err(Turn::Skip { next_offset: offset });
        }
        let event = match read {
            Ok(event) => event,
            Err(why) => {
                means.say(Notice::Unreadable(offset + 1, why));
                self.skips_to = Some(offset + 1);
                return Ok(());
            }
        };
        self.skip()?;
        self.insist_on_announced(means, &event)?;
        if let Some(mut step) = self.step(means, event) {
            step.leave_out(&self.sides);
            if !self.building.has_room_for(step.effects()) || (step.stands_alone() && !self.building.is_empty()) {
                self.close(means);
            }
            step.take_into(&mut self.building, || means.setup.partition_tag());
            if !means.obeys(Rule::FloorOnControl) {
                self.building.floor = None;
            }
        }
        self.next = offset + 1;
        self.building.next_offset = self.next;
        Ok(())
    }

    /// Leaves out what can't be read, a whole run of it at once: the floor rises in its stead, and the lane begins again behind it.
    pub(super) fn skip(&self) -> Result<(), Turn> {
        self.skips_to.map_or(Ok(()), |next_offset| Err(Turn::Skip { next_offset }))
    }

    /// A new epoch is announced in each partition before anything of it: whoever meets a change of one that it has not heard
    /// of reads a log that was made anew meanwhile.
    fn insist_on_announced(&self, means: &mut Means, event: &record::Event) -> Result<(), Turn> {
        let announces = matches!(event, record::Event::Control(control) if control.kind == ControlKind::Epoch);
        let epoch = position_of(event).filter(|_| !announces).map_or(0, |position| position.epoch);
        if epoch <= self.known_epoch() || !means.obeys(Rule::EpochAnnounced) {
            return Ok(());
        }
        means.say(Notice::MadeAnew);
        Err(Turn::Back)
    }

    /// A record from before our place. Where it is of a later epoch than all that we know, the log was made anew.
    fn again(&self, read: Result<record::Event, String>) -> Result<(), Turn> {
        let epoch = read.ok().and_then(|event| position_of(&event)).map_or(0, |position| position.epoch);
        if epoch > self.known_epoch() { Err(Turn::Back) } else { Ok(()) }
    }

    pub(super) fn known_epoch(&self) -> u16 {
        let applied = self.sides.iter().filter(|side| side.is_attached()).map(|side| side.expect.epoch).min();
        applied.unwrap_or(0).max(self.seen.epoch)
    }

    /// The newest that a tier has: progress of an older one would bring that epoch's timeline back, and with it fills from a
    /// deposed primary.
    pub(super) fn newest_epoch(&self) -> u16 {
        self.sides.iter().filter(|side| side.is_attached()).map(|side| side.expect.epoch).max().unwrap_or(0)
    }

    /// What an event asks for; `None` where it was planned before: published twice, after a restart of ingest, is ordinary.
    fn step(&mut self, means: &mut Means, event: record::Event) -> Option<Step> {
        match event {
            record::Event::Change(change) if change.position > self.seen => {
                self.seen = change.position;
                let effects = means.setup.planner.effects(&change);
                Some(Step::Change(change, effects))
            }
            record::Event::Control(control) if control.position > self.seen => {
                self.seen = control.position;
                Some(Step::Control(control))
            }
            record::Event::Invalidation(asked) if asked.position > self.seen => {
                self.seen = asked.position;
                let effects = means.setup.planner.invalidated(&means.setup.place.group, &asked);
                Some(Step::Invalidation(asked, effects))
            }
            record::Event::Change(_) | record::Event::Control(_) | record::Event::Invalidation(_) => {
                means.say(Notice::Repeated);
                None
            }
            record::Event::Nothing => None,
        }
    }
}

/// What one event asks for.
enum Step {
    Change(Box<Change>, Result<Vec<Effect>, NoEntity>),
    /// What no change asks for, and every tier drops.
    Invalidation(Box<Invalidation>, Result<Vec<Effect>, NoEntity>),
    Control(Control),
}

impl Step {
    /// What a tier has applied already is not folded into what it has not: an older value would come with a newer position.
    fn leave_out(&mut self, sides: &[Side]) {
        let (position, effects) = match self {
            Step::Change(change, Ok(effects)) => (change.position, effects),
            Step::Invalidation(asked, Ok(effects)) => (asked.position, effects),
            Step::Change(_, Err(NoEntity)) | Step::Invalidation(_, Err(NoEntity)) | Step::Control(_) => return,
        };
        let applied = |entry: &EntryAction| {
            let side = sides.iter().find(|side| side.tier == entry.view.tier);
            side.is_some_and(|side| !side.is_attached() || position <= side.expect)
        };
        effects.retain(|effect| effect.entry().is_none_or(|entry| !applied(entry)));
    }

    /// An event of no transaction waits for the horizon [13j], and what came before it needs not.
    fn stands_alone(&self) -> bool {
        matches!(self, Step::Control(control) if control.xid == 0)
    }

    fn effects(&self) -> &[Effect] {
        match self {
            Step::Change(_, Ok(effects)) | Step::Invalidation(_, Ok(effects)) => effects,
            Step::Change(_, Err(NoEntity)) | Step::Invalidation(_, Err(NoEntity)) | Step::Control(_) => &[],
        }
    }

    /// A change whose entity is not in the log concerns any entry of its partition.
    fn take_into(self, chunk: &mut Chunk, partition_tag: impl FnOnce() -> String) {
        match self {
            Step::Change(change, Ok(effects)) => chunk.add(change.position, change.xid, change.committed_at, effects),
            Step::Change(change, Err(NoEntity)) => {
                chunk.raise_floor(change.position, Some(change.xid), partition_tag())
            }
            Step::Invalidation(asked, Ok(effects)) => chunk.add(asked.position, asked.xid, asked.committed_at, effects),
            Step::Invalidation(asked, Err(NoEntity)) => {
                chunk.raise_floor(asked.position, Some(asked.xid), partition_tag());
            }
            Step::Control(control) => {
                chunk.raise_floor(control.position, (control.xid != 0).then_some(control.xid), partition_tag());
            }
        }
    }
}

fn position_of(event: &record::Event) -> Option<Position> {
    match event {
        record::Event::Change(change) => Some(change.position),
        record::Event::Control(control) => Some(control.position),
        record::Event::Invalidation(asked) => Some(asked.position),
        record::Event::Nothing => None,
    }
}
