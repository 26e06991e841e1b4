//! The lane, as far as L3 is concerned: its calls, and where it starts.

use super::rounds::Round;
use super::{Edge, Late, State, Step, TIERS, spend};
use crate::rules::Rule;

/// The name of an owner that has just been written.
const FRESH: u8 = 9;

/// A watermark's hash. L1's has a position only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TierMark {
    pub(super) pos: u8,
    pub(super) owner: u8,
    pub(super) begun: u8,
    pub(super) l3: u8,
}

/// A call to L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) expect: u8,
    pub(super) new: u8,
    pub(super) begun: Option<u8>,
    pub(super) l3: Option<u8>,
    pub(super) owner: u8,
}

/// One partition's lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) expect: [u8; TIERS],
    pub(super) owner: u8,
    /// Up to here, all has been applied, and handed to the rounds.
    pub(super) next: u8,
    /// What the rounds have not begun with.
    pub(super) pending: Option<u8>,
    pub(super) round: Option<Round>,
    /// All rounds are over up to here.
    pub(super) done: u8,
    /// What L2 has been told of that.
    pub(super) told: u8,
}

impl Lane {
    pub(super) fn is_at_rest(&self, end: u8) -> bool {
        self.next == end && self.pending.is_none() && self.round.is_none()
    }
}

impl Edge {
    pub(super) fn steps_of_lane(&self, state: &State, steps: &mut Vec<Step>) {
        let lane = &state.lane;
        if lane.next < self.changes {
            steps.push(Step::Apply);
        }
        if lane.done != lane.told || self.has_lost_l2(state) {
            steps.push(Step::Move);
        }
        if self.tiers == 2 && state.tiers[1].pos != lane.expect[1] {
            steps.push(Step::Notice);
        }
        if state.crashes > 0 {
            steps.push(Step::Crash);
            if self.late == Late::OldOwner && lane.expect[0] < self.changes {
                steps.extend([Step::HandOver { has_landed: false }, Step::HandOver { has_landed: true }]);
            }
        }
        if state.late.is_some() {
            steps.push(Step::LateCall);
        }
    }

    /// What its next call to L2 would find.
    pub(super) fn has_lost_l2(&self, state: &State) -> bool {
        let mark = &state.tiers[0];
        mark.pos != state.lane.expect[0] || self.rules.has(Rule::OwnerFencesCalls) && mark.owner != state.lane.owner
    }

    pub(super) fn lane_steps(&self, next: &mut State, step: Step) {
        match step {
            Step::Apply => self.apply(next),
            Step::Move => self.move_l3(next),
            Step::LateCall => {
                let Some(call) = next.late.take() else { return };
                self.land(&mut next.tiers[0], call);
            }
            Step::HandOver { has_landed } => {
                let call = self.call_of(&next.lane);
                if has_landed {
                    self.land(&mut next.tiers[0], call);
                }
                next.late = Some(call);
                spend(&mut next.crashes);
                self.open(next);
            }
            Step::Crash => {
                spend(&mut next.crashes);
                self.open(next);
            }
            _ => self.open(next),
        }
    }

    /// The next change: to the first tier that lacks it; after the last, to the rounds.
    fn apply(&self, next: &mut State) {
        let through = next.lane.next + 1;
        let lacks = (0..self.tiers).find(|tier| next.lane.expect[*tier] < through);
        match lacks {
            Some(0) => {
                let call = self.call_of(&next.lane);
                if !self.land(&mut next.tiers[0], call) {
                    return self.open(next);
                }
                next.lane.expect[0] = through;
                next.lane.told = call.l3.unwrap_or(next.lane.told);
            }
            Some(_) if next.tiers[1].pos != next.lane.expect[1] => return self.open(next),
            Some(_) => {
                next.tiers[1].pos = through;
                next.lane.expect[1] = through;
            }
            None => {}
        }
        if (0..self.tiers).all(|tier| next.lane.expect[tier] >= through) {
            next.lane.next = through;
            next.lane.pending = Some(through);
        }
    }

    fn call_of(&self, lane: &Lane) -> Call {
        let new = lane.expect[0].max(lane.next) + 1;
        let begun = self.rules.has(Rule::BegunBeforeRounds).then_some(new);
        let told = lane.done != lane.told;
        Call { expect: lane.expect[0], new, begun, l3: told.then_some(lane.done), owner: lane.owner }
    }

    fn move_l3(&self, next: &mut State) {
        let lane = &next.lane;
        let begun = (!self.rules.has(Rule::BegunBeforeRounds)).then_some(lane.done);
        let l3 = (lane.done != lane.told).then_some(lane.done);
        let call = Call { expect: lane.expect[0], new: lane.expect[0], begun, l3, owner: lane.owner };
        if self.late == Late::Moves && next.late.is_none() {
            next.late = Some(call);
        }
        if !self.land(&mut next.tiers[0], call) {
            return self.open(next);
        }
        next.lane.told = next.lane.done;
    }

    /// `apply`, as far as L3 is concerned.
    fn land(&self, mark: &mut TierMark, call: Call) -> bool {
        let is_owner = mark.owner == call.owner && call.owner != 0;
        let is_blind = call.l3.is_some() && call.new == call.expect && !self.rules.has(Rule::CompareForL3);
        if mark.pos != call.expect && !is_blind || self.rules.has(Rule::OwnerFencesCalls) && !is_owner {
            return false;
        }
        if !is_blind {
            mark.pos = call.new;
        }
        if is_owner || !self.rules.has(Rule::CompareOwner) {
            mark.begun = call.begun.unwrap_or(mark.begun);
            mark.l3 = call.l3.unwrap_or(mark.l3);
        }
        true
    }

    /// The start of a lane, with `own`.
    fn open(&self, next: &mut State) {
        let expect = next.tiers.map(|mark| mark.pos);
        let least = expect[..self.tiers].iter().copied().min().unwrap_or_default();
        let mark = &mut next.tiers[0];
        let l3 = mark.l3.min(least);
        mark.owner = FRESH;
        if self.rules.has(Rule::LowerL3) {
            mark.l3 = l3;
        }
        let start = if self.rules.has(Rule::StartAtL3) { l3 } else { least };
        next.lane = Lane { expect, owner: FRESH, next: start, pending: None, round: None, done: start, told: start };
    }
}
