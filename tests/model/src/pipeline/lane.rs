//! The lane as it is built: a chunk is gated, applied to L2, after its ok to L1; then the next. A watermark that is not
//! where it was left begins the lane again, from the watermarks that lie on the tiers.

use super::agents::Agent;
use super::tidy::FRESH;
use super::{Pipeline, READERS_MAX, State, Step, TIERS, is_visible, spend};
use crate::history::Action;
use crate::rules::Rule;
use crate::tier::Marker;

/// A lease that nobody holds.
pub(super) const NOBODY: u8 = 0;

/// One partition's lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    /// Where the watermarks are, as far as it knows.
    pub(super) expect: [u8; TIERS],
    /// Up to here, all has been applied to all tiers.
    pub(super) next: u8,
    /// The chunk at work.
    pub(super) chunk: Option<Chunk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Chunk {
    pub(super) through: u8,
    /// The tier that it comes to next.
    pub(super) tier: u8,
    /// Written there, but the watermark has not moved: only where it is compared after the writes.
    pub(super) is_written: bool,
}

impl Lane {
    pub(super) fn is_at_rest(&self, end: u8) -> bool {
        self.next == end && self.chunk.is_none()
    }
}

impl Pipeline {
    pub(super) fn steps_of_lanes(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps_of_lane(state, &state.lane, false, steps);
        if let Some(old) = &state.old {
            self.steps_of_lane(state, old, true, steps);
        }
        let lane = &state.lane;
        let forgot = (0..self.tiers).any(|tier| state.nodes[tier].pos != lane.expect[tier]);
        if forgot && lane.chunk.is_none() {
            steps.push(Step::Notice);
        }
        if !self.rules.has(Rule::StartFromWatermark) && state.committed < lane.next {
            steps.push(Step::CommitOffset);
        }
        if state.left.crashes > 0 {
            steps.push(Step::Crash);
        }
        if state.left.old_owners > 0 && state.old.is_none() {
            steps.push(Step::Rebalance);
        }
    }

    fn steps_of_lane(&self, state: &State, lane: &Lane, is_old: bool, steps: &mut Vec<Step>) {
        match lane.chunk {
            Some(chunk) if chunk.is_written => steps.push(Step::Move { is_old }),
            Some(chunk) => steps.push(Step::Apply { is_old, tier: chunk.tier, through: chunk.through }),
            None => {
                let farthest = state.log.min(lane.next + self.fold_max);
                for through in lane.next + 1..=farthest {
                    if let Some(tier) = self.tier_behind(lane, through, 0)
                        && self.is_open(state, lane.next, through)
                    {
                        steps.push(Step::Apply { is_old, tier, through });
                    }
                }
            }
        }
    }

    /// The first tier, from one outward, that a chunk has not been applied to.
    fn tier_behind(&self, lane: &Lane, through: u8, from: u8) -> Option<u8> {
        (from..self.tiers as u8).find(|tier| lane.expect[usize::from(*tier)] < through)
    }

    /// The gate.
    fn is_open(&self, state: &State, after: u8, through: u8) -> bool {
        if !self.rules.has(Rule::Gate) || !self.rules.has(Rule::Hold) {
            return true;
        }
        let first = if self.rules.has(Rule::GateEach) { after + 1 } else { through };
        (first..=through).all(|number| is_visible(state, number))
    }

    pub(super) fn lane_steps(&self, next: &mut State, step: Step, is_old: bool) {
        let lane = if is_old { next.old } else { Some(next.lane) };
        let Some(mut lane) = lane else { return };
        let kept = match step {
            Step::Apply { tier, through, .. } => self.apply(next, &mut lane, tier, through),
            _ => self.move_watermark(next, &mut lane),
        };
        match (is_old, kept) {
            (false, true) => next.lane = lane,
            (false, false) => next.lane = self.open(next),
            (true, kept) => next.old = kept.then_some(lane),
        }
    }

    /// A call to a tier. Returns whether the lane goes on; otherwise the watermark was not where it was left.
    fn apply(&self, next: &mut State, lane: &mut Lane, tier: u8, through: u8) -> bool {
        let at = usize::from(tier);
        let expect = lane.expect[at];
        let compares_first = self.rules.has(Rule::CompareFirst);
        if compares_first && next.nodes[at].pos != expect {
            return false;
        }
        let mut mine = false;
        if !self.rules.has(Rule::Hold) && !is_visible(next, through) {
            next.nodes[at].entry = None;
            next.nodes[at].marker = Some(Marker { nonce: NOBODY, pos: through });
        } else {
            // What this tier has applied already is left out.
            let after = lane.next.max(expect.min(through - 1));
            let action = self.history.fold(after, through, self.rules.has(Rule::InsertInvalidates));
            mine = self.act(next, at, action, through);
        }
        if mine {
            next.agents[READERS_MAX + at] = Agent::Leased { tier, nonce: FRESH, pos: through, log: 0 };
        }
        lane.chunk = Some(Chunk { through, tier, is_written: true });
        if compares_first {
            self.moved(next, lane, tier, through);
        }
        true
    }

    fn act(&self, next: &mut State, at: usize, action: Action, through: u8) -> bool {
        next.nodes[at].act(action, through, FRESH, &self.history, self.rules)
    }

    /// Only where the watermark is compared after the writes.
    fn move_watermark(&self, next: &mut State, lane: &mut Lane) -> bool {
        let Some(Chunk { through, tier, .. }) = lane.chunk else { return true };
        let kept = next.nodes[usize::from(tier)].pos == lane.expect[usize::from(tier)];
        if kept {
            self.moved(next, lane, tier, through);
        }
        kept
    }

    fn moved(&self, next: &mut State, lane: &mut Lane, tier: u8, through: u8) {
        next.nodes[usize::from(tier)].pos = through;
        lane.expect[usize::from(tier)] = through;
        lane.chunk = self.tier_behind(lane, through, tier + 1).map(|tier| Chunk { through, tier, is_written: false });
        if lane.chunk.is_none() {
            lane.next = through;
        }
    }

    /// A lane begins.
    pub(super) fn open(&self, state: &State) -> Lane {
        let expect = state.nodes.map(|node| node.pos);
        let least = expect[..self.tiers].iter().copied().min().unwrap_or_default();
        Lane { expect, next: least, chunk: None }
    }

    pub(super) fn hand_over(&self, next: &mut State, step: Step) {
        if step == Step::Rebalance {
            spend(&mut next.left.old_owners);
            next.old = Some(next.lane);
        } else {
            spend(&mut next.left.crashes);
            next.agents[READERS_MAX..].fill(Agent::Idle);
        }
        next.lane = self.open(next);
        if !self.rules.has(Rule::StartFromWatermark) {
            next.lane.next = next.lane.next.max(next.committed);
        }
    }
}
