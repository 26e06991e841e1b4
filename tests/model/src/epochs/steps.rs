//! What each party does.

use super::{COMMITS_OLD_MAX, EPOCH, Epochs, State, Step, values};
use crate::history::Action;
use crate::rules::Rule;
use crate::tier::{Fill, GREATEST, Marker};

/// The engine's own fills are not in this model: they are readers too.
const NOBODY: u8 = 0;
const LIVE: u8 = 1;
const FRESH: u8 = 9;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Reader {
    #[default]
    Idle,
    Leased {
        nonce: u8,
        pos: u8,
    },
    Read(Fill),
}

impl Reader {
    fn nonce_mut(&mut self) -> Option<&mut u8> {
        match self {
            Reader::Idle => None,
            Reader::Leased { nonce, .. } => Some(nonce),
            Reader::Read(fill) => Some(&mut fill.nonce),
        }
    }
}

impl State {
    /// A nonce that does not lie beside the entry never will again; and a lease that nobody holds is nobody's.
    pub(super) fn forget_dead_leases(&mut self) {
        let live = self.node.marker.map(|marker| marker.nonce);
        let mut is_held = false;
        for reader in &mut self.readers {
            let Some(nonce) = reader.nonce_mut() else { continue };
            if Some(*nonce) == live {
                (*nonce, is_held) = (LIVE, true);
            } else {
                *reader = Reader::Idle;
            }
        }
        if let Some(marker) = &mut self.node.marker {
            marker.nonce = if is_held { LIVE } else { NOBODY };
        }
        self.readers.sort_unstable();
    }
}

impl Epochs {
    pub(super) fn steps_of_databases(&self, state: &State, steps: &mut Vec<Step>) {
        if state.fork.is_none() {
            if state.old < self.old {
                steps.push(Step::Commit);
            }
            steps.extend((0..=state.old).map(Step::FailOver));
            return;
        }
        if state.new < self.new && state.visible == state.new {
            steps.push(Step::CommitNew);
        }
        if state.visible < state.new {
            steps.push(Step::Visible);
        }
    }

    pub(super) fn steps_of_log(&self, state: &State, steps: &mut Vec<Step>) {
        match state.slot {
            None if state.fork.is_some() => steps.push(Step::Slot),
            Some(_) if !state.gate_knows => steps.push(Step::GateLearns),
            _ => {}
        }
        if state.slot.is_none() && state.published < state.old {
            steps.push(Step::Publish);
        }
        if state.applied_old < state.published && !state.event_applied {
            steps.push(Step::ApplyOld);
        }
        let Some(slot) = state.slot.filter(|_| state.gate_knows) else { return };
        if !state.event_applied {
            let is_visible = state.visible >= slot || !self.rules.has(Rule::GateEpochEvent);
            if state.applied_old == state.published && is_visible {
                steps.push(Step::Event);
            }
        } else if state.applied_new < state.visible {
            steps.push(Step::ApplyNew);
        }
    }

    pub(super) fn apply(&self, next: &mut State, step: Step) {
        let (pos, action) = match step {
            Step::ApplyOld => {
                next.applied_old += 1;
                let refresh = Action::Refresh { position: EPOCH + next.applied_old, image: values(next.applied_old) };
                (EPOCH + next.applied_old, if next.gate_knows { Action::Invalidate } else { refresh })
            }
            Step::Event => {
                next.event_applied = true;
                next.applied_new = next.slot.unwrap_or_default();
                (2 * EPOCH + next.applied_new, Action::Nothing)
            }
            _ => {
                next.applied_new += 1;
                let position = 2 * EPOCH + next.applied_new;
                (position, Action::Refresh { position, image: values(COMMITS_OLD_MAX + next.applied_new) })
            }
        };
        next.node.act(action, pos, FRESH, &self.history, self.rules);
        next.node.pos = pos;
        next.node.timeline = if next.gate_knows { 2 } else { 1 };
        if step == Step::Event && self.rules.has(Rule::FloorAtEpoch) {
            next.node.floor = pos;
        }
    }

    pub(super) fn steps_of_readers(&self, state: &State, steps: &mut Vec<Step>) {
        for (who, reader) in (0_u8..).zip(&state.readers) {
            match reader {
                Reader::Idle => steps.extend(state.node.lease(FRESH).map(|_| Step::Lease(who))),
                Reader::Leased { .. } => {
                    steps.push(Step::Read(who));
                    if self.split_brain && state.fork.is_some() {
                        steps.push(Step::ReadDeposed(who));
                    }
                }
                Reader::Read(_) => steps.push(Step::Fill(who)),
            }
        }
    }

    pub(super) fn reader_step(&self, next: &mut State, step: Step) {
        let (Step::Lease(who) | Step::Read(who) | Step::ReadDeposed(who) | Step::Fill(who)) = step else { return };
        let who = usize::from(who);
        next.readers[who] = match (step, next.readers[who]) {
            (Step::Lease(_), _) => {
                let Some(leased) = next.node.lease(FRESH) else { return };
                next.node = leased;
                Reader::Leased { nonce: FRESH, pos: leased.pos }
            }
            (Step::Fill(_), Reader::Read(fill)) => {
                next.node.fill(fill, self.rules);
                Reader::Idle
            }
            (_, Reader::Leased { nonce, pos }) => {
                let is_old = matches!(step, Step::ReadDeposed(_)) || next.fork.is_none();
                let values = if is_old { values(next.old) } else { self.primary(next) };
                let high = if is_old { EPOCH + next.old } else { 2 * EPOCH + next.new };
                let timeline = if is_old { 1 } else { 2 };
                Reader::Read(Fill { nonce, values, low: pos, high, source_at: GREATEST, timeline })
            }
            (_, reader) => reader,
        };
    }

    pub(super) fn words(&self, before: &State, step: Step, after: &State) -> String {
        match step {
            Step::Commit => format!("c{} on the old primary", after.old),
            Step::Publish => format!("c{} is published", after.published),
            Step::FailOver(kept) => format!("the database fails over; {} of {} commits are kept", kept, before.old),
            Step::CommitNew => format!("c{} on the new primary, not visible", after.new),
            Step::Visible => format!("v{} on the new primary", after.visible),
            Step::Slot => format!("a slot on the new primary, behind {} of its commits", after.new),
            Step::GateLearns => "the gate hears of the new epoch".to_owned(),
            Step::ApplyOld => format!("A{} of the old epoch: {}", after.applied_old, node(after)),
            Step::Event => format!("the epoch's event: {}", node(after)),
            Step::ApplyNew => format!("A{} of the new epoch: {}", after.applied_new, node(after)),
            Step::Lease(_) => format!("lease@{}", epoch_of(before.node.pos)),
            Step::Read(_) => format!("a reader reads the primary: {}", value(self.primary(before)[0])),
            Step::ReadDeposed(_) => format!("a reader reads the deposed primary: {}", value(before.old)),
            Step::Fill(_) => format!("fill: {}", node(after)),
        }
    }
}

fn node(state: &State) -> String {
    let entry = state.node.living().map_or_else(
        || "absent".to_owned(),
        |entry| format!("[{}, low={}]", value(entry.values[0]), epoch_of(entry.low)),
    );
    let marker = state.node.marker.map_or("", |Marker { .. }| ", marker");
    format!("{entry}{marker}, W={}, floor={}", epoch_of(state.node.pos), epoch_of(state.node.floor))
}

fn epoch_of(position: u8) -> String {
    format!("{}-{}", position / EPOCH, position % EPOCH)
}

fn value(number: u8) -> String {
    match number.checked_sub(COMMITS_OLD_MAX) {
        Some(new) if new > 0 => format!("c{new} of the new primary"),
        _ => format!("c{number} of the old primary"),
    }
}
