//! What nobody of us does: commits, snapshots, evictions, nodes that fall back.

use super::{ANY, Pipeline, Snapshot, State, Step};
use crate::rules::Rule;
use crate::tier::Entry;

impl Pipeline {
    pub(super) fn steps_of_writers(&self, state: &State, steps: &mut Vec<Step>) {
        let next = state.log + 1;
        if next <= self.history.len() && !self.history.is_locked(next, state.visible) {
            steps.push(Step::Commit);
        }
        let hidden = (1..=state.log).filter(|number| !is_visible(state, *number));
        steps.extend(hidden.map(Step::Visible));
        if state.left.snapshots > 0 && !self.rules.has(Rule::SnapshotNeverWrites) {
            steps.push(Step::Snapshot);
        }
        if let Some(snapshot) = state.snapshot {
            steps.extend((0..self.tiers as u8).filter(|tier| snapshot.tiers >> tier & 1 == 1).map(Step::Plant));
        }
    }

    pub(super) fn mishaps(&self, state: &State, steps: &mut Vec<Step>) {
        for (tier, node) in (0_u8..).zip(&state.nodes[..self.tiers]) {
            if state.left.evictions > 0 {
                steps.extend(node.entry.map(|_| Step::Evict(tier)));
                steps.extend(node.marker.map(|_| Step::Expire(tier)));
            }
            if state.left.failovers[usize::from(tier)] > 0 {
                let saved = state.saved[usize::from(tier)];
                steps.push(if saved.is_none() { Step::Save(tier) } else { Step::FailOver(tier) });
            }
        }
    }

    pub(super) fn snapshot_steps(&self, next: &mut State, step: Step) {
        let Step::Plant(tier) = step else {
            spend(&mut next.left.snapshots);
            let tiers = (1 << self.tiers) - 1;
            next.snapshot = Some(Snapshot { position: next.log, values: self.history.prefix(next.log), tiers });
            return;
        };
        let Some(snapshot) = &mut next.snapshot else { return };
        snapshot.tiers &= !(1 << tier);
        let (values, position) = (snapshot.values, snapshot.position);
        let node = &mut next.nodes[usize::from(tier)];
        if node.living().is_none_or(|entry| position > entry.high) {
            node.entry = Some(Entry { values, low: position, high: position });
        }
    }
}

pub(super) fn mishap(next: &mut State, step: Step) {
    match step {
        Step::Evict(tier) => {
            spend(&mut next.left.evictions);
            next.nodes[usize::from(tier)].entry = None;
        }
        Step::Expire(tier) => {
            spend(&mut next.left.evictions);
            next.nodes[usize::from(tier)].marker = None;
        }
        Step::Save(tier) => next.saved[usize::from(tier)] = Some(next.nodes[usize::from(tier)]),
        Step::FailOver(tier) => {
            let tier = usize::from(tier);
            spend(&mut next.left.failovers[tier]);
            next.nodes[tier] = next.saved[tier].take().unwrap_or_default();
        }
        _ => {}
    }
}

pub(super) fn is_visible(state: &State, number: u8) -> bool {
    state.visible >> (number - 1) & 1 == 1
}

/// One less of what is counted.
pub(super) fn spend(left: &mut u8) {
    if *left != ANY {
        *left -= 1;
    }
}
