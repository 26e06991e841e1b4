//! From the commit to the stamps: the row's engine publishes each change to its tags, and a lane a tag stamps.

use super::{CRASHES, STAMPS_EVICTED, Stamps, State, Step, TAGS, spend};
use crate::rules::Rule;

/// A tag's node: its stamp, 0 where that is missing, and the watermark that moves with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct StampNode {
    pub(super) stamp: u8,
    pub(super) pos: u8,
}

/// Where it believes its watermark, the event that it comes to next, and the offset that it committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct TagLane {
    pub(super) expect: u8,
    pub(super) next: u8,
    committed: u8,
}

impl Stamps {
    pub(super) fn steps_of_rows(&self, state: &State, steps: &mut Vec<Step>) {
        if usize::from(state.log) < self.changes.len() {
            steps.push(Step::Commit);
        }
        steps.extend((0..state.log).filter(|at| state.visible >> at & 1 == 0).map(|at| Step::Visible(at + 1)));
        if state.left[CRASHES] > 0 {
            steps.push(Step::CrashEngine);
        }
        let publish = |tags: u8| (0..TAGS as u8).filter(move |tag| tags >> tag & 1 == 1).map(Step::Publish);
        if state.owed != 0 {
            steps.extend(publish(state.owed));
            return;
        }
        let is_open = state.visible >> state.applied & 1 == 1 || !self.rules.has(Rule::Gate);
        if state.applied < state.log && is_open {
            let left = self.changes[usize::from(state.applied)] & !state.published;
            if left == 0 || !self.rules.has(Rule::PublishBeforeL2) {
                steps.push(Step::ApplyRow);
            } else {
                steps.extend(publish(left));
            }
        }
    }

    pub(super) fn steps_of_tag_lanes(&self, state: &State, steps: &mut Vec<Step>) {
        for tag in 0..TAGS as u8 {
            let (lane, node) = (state.lanes[usize::from(tag)], state.nodes[usize::from(tag)]);
            if lane.next < state.topics[usize::from(tag)] {
                steps.push(Step::Stamp(tag));
            } else if lane.expect < lane.next || node.pos != lane.expect {
                steps.push(Step::Follow(tag));
            }
            if !self.rules.has(Rule::StartFromWatermark) && lane.committed < lane.expect {
                steps.push(Step::CommitOffset(tag));
            }
            if state.left[CRASHES] > 0 {
                steps.push(Step::CrashLane(tag));
            }
            if state.left[STAMPS_EVICTED] > 0 && node.stamp != 0 {
                steps.push(Step::EvictStamp(tag));
            }
        }
    }

    pub(super) fn lane_step(&self, next: &mut State, step: Step) {
        match step {
            Step::Commit => next.log += 1,
            Step::Visible(number) => next.visible |= 1 << (number - 1),
            Step::Publish(tag) => {
                next.topics[usize::from(tag)] += 1;
                let (owed, published) = if next.owed != 0 { (1 << tag, 0) } else { (0, 1 << tag) };
                (next.owed, next.published) = (next.owed & !owed, next.published | published);
            }
            Step::ApplyRow => {
                next.owed = self.changes[usize::from(next.applied)] & !next.published;
                (next.applied, next.published) = (next.applied + 1, 0);
            }
            Step::CrashEngine => {
                spend(&mut next.left[CRASHES]);
                (next.published, next.owed) = (0, 0);
            }
            Step::Stamp(tag) => self.stamp(next, usize::from(tag)),
            Step::Follow(tag) => follow(next, usize::from(tag)),
            Step::CommitOffset(tag) => {
                let lane = &mut next.lanes[usize::from(tag)];
                lane.committed = lane.expect;
            }
            Step::CrashLane(tag) => {
                spend(&mut next.left[CRASHES]);
                self.open(next, usize::from(tag));
            }
            _ => {}
        }
    }

    /// Compared first, stamp and watermark in one call.
    fn stamp(&self, next: &mut State, tag: usize) {
        let lane = next.lanes[tag];
        if next.nodes[tag].pos != lane.expect {
            begin_again(next, tag);
            return;
        }
        let stamp = if self.rules.has(Rule::RandomStamp) { next.fresh(tag) } else { next.nodes[tag].stamp + 1 };
        next.nodes[tag] = StampNode { stamp, pos: lane.next + 1 };
        (next.lanes[tag].expect, next.lanes[tag].next) = (lane.next + 1, lane.next + 1);
    }

    fn open(&self, next: &mut State, tag: usize) {
        let from = if self.rules.has(Rule::StartFromWatermark) { 0 } else { next.lanes[tag].committed };
        begin_again(next, tag);
        next.lanes[tag].next = next.lanes[tag].next.max(from);
    }

    /// Whatever happened has reached the stamps.
    pub(super) fn is_published(&self, state: &State) -> bool {
        let is_stamped = |tag: usize| {
            let (lane, end) = (state.lanes[tag], state.topics[tag]);
            lane.next == end && lane.expect == end && state.nodes[tag].pos == end
        };
        usize::from(state.applied) == self.changes.len() && state.owed == 0 && (0..TAGS).all(is_stamped)
    }
}

fn follow(next: &mut State, tag: usize) {
    let lane = next.lanes[tag];
    if next.nodes[tag].pos != lane.expect {
        return begin_again(next, tag);
    }
    next.nodes[tag].pos = lane.next;
    next.lanes[tag].expect = lane.next;
}

fn begin_again(next: &mut State, tag: usize) {
    let pos = next.nodes[tag].pos;
    (next.lanes[tag].expect, next.lanes[tag].next) = (pos, pos);
}
