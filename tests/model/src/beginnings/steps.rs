//! What the lane and the reader do.

use super::{Beginnings, Lane, NONCE, Reader, State, Step, is_visible};
use crate::history::Action;
use crate::rules::Rule;
use crate::tier::{Fill, GREATEST, Node};

const ENGINE: u8 = 2;

impl Beginnings {
    pub(super) fn steps_of_lane(&self, state: &State, steps: &mut Vec<Step>) {
        let all_visible = (1..=state.log).all(|number| is_visible(state, number));
        let may_settle = all_visible || !self.rules.has(Rule::SettledMoment);
        match state.lane {
            Lane::Closed if state.node.pos > state.oldest => steps.push(Step::Open),
            Lane::Closed if self.rules.has(Rule::EndBeforeMoment) => steps.push(Step::ReadEnd),
            Lane::Closed if may_settle => steps.push(Step::Settle),
            Lane::End(_) if may_settle => steps.push(Step::Raise),
            Lane::Moment(_) => steps.push(Step::Raise),
            Lane::Open { next, .. } if next < state.published && is_visible(state, next + 1) => steps.push(Step::Apply),
            _ => {}
        }
    }

    pub(super) fn lane_step(&self, next: &mut State, step: Step) {
        next.lane = match (step, next.lane) {
            (Step::Open, _) => Lane::Open { expect: next.node.pos, next: next.node.pos - 1 },
            (Step::ReadEnd, _) => Lane::End(next.published),
            (Step::Settle, _) => Lane::Moment(next.log),
            (Step::Raise, Lane::End(end)) => self.raise(next, next.log, end),
            (Step::Raise, Lane::Moment(moment)) => self.raise(next, moment, next.published),
            (_, Lane::Open { expect, next: done }) => self.apply(next, expect, done + 1),
            (_, lane) => lane,
        };
    }

    fn raise(&self, next: &mut State, moment: u8, end: u8) -> Lane {
        let pos = next.node.pos.max(moment + 1);
        next.node.pos = pos;
        if self.rules.has(Rule::UnknownRaises) {
            next.node.floor = moment + 1;
        }
        Lane::Open { expect: pos, next: end }
    }

    fn apply(&self, next: &mut State, expect: u8, number: u8) -> Lane {
        if next.oldest >= number || next.node.pos != expect {
            return Lane::Closed;
        }
        let pos = number + 1;
        if pos <= expect {
            return Lane::Open { expect, next: number };
        }
        let action = match self.history.fold(number - 1, number, true) {
            Action::Refresh { image, .. } => Action::Refresh { position: pos, image },
            action => action,
        };
        next.node.act(action, pos, ENGINE, &self.history, self.rules);
        next.node.pos = pos;
        Lane::Open { expect: pos, next: number }
    }

    pub(super) fn reader_step(&self, next: &mut State, step: Step) {
        match (step, next.reader) {
            (Step::Lease, _) => {
                let Some(leased) = next.node.lease(NONCE) else { return };
                next.node = leased;
                next.reader = Some(Reader::Leased(leased.pos));
            }
            (Step::Read, Some(Reader::Leased(low))) => {
                let (values, high) = (self.history.contents(next.visible), next.log + 1);
                next.reader =
                    Some(Reader::Read(Fill { nonce: NONCE, values, low, high, source_at: GREATEST, timeline: 0 }));
            }
            (_, Some(Reader::Read(fill))) => {
                next.node.fill(fill, self.rules);
                next.reader = None;
            }
            _ => {}
        }
    }
}

impl State {
    /// A nonce that lies nowhere never will again; a lease that nobody holds expires at once, the engine's own too: its
    /// fill is a reader's like any.
    pub(super) fn forget_dead_lease(&mut self) {
        if self.node.marker.is_some_and(|marker| marker.nonce == ENGINE) {
            self.node.marker = None;
        }
        let lies = |node: &Node| node.marker.is_some();
        if !lies(&self.node) && !self.saved.as_ref().is_some_and(lies) {
            self.reader = None;
        }
        if self.reader.is_none() {
            self.node.marker = None;
            if let Some(saved) = &mut self.saved {
                saved.marker = None;
            }
        }
    }
}

pub(super) fn node(state: &State) -> String {
    let Node { pos, floor, entry, .. } = state.node;
    let entry = entry.map_or("absent".to_owned(), |entry| format!("[{:?}, low={}]", entry.values, entry.low));
    format!("{entry}, W={pos}, floor={floor}")
}
