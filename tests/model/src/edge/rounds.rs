//! Rounds of purges, layer by layer, each when the responses that the last one met have ended.

use super::{Edge, State, Step};
use crate::rules::Rule;

/// One round of purges up to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Round {
    pub(super) through: u8,
    pub(super) number: u8,
    /// Layers that it has reached, bit by bit.
    pub(super) purged: u8,
}

impl Edge {
    pub(super) fn steps_of_rounds(&self, state: &State, steps: &mut Vec<Step>) {
        let Some(round) = state.lane.round else {
            steps.extend(state.lane.pending.map(|_| Step::Round));
            return;
        };
        let under_way = state.responses.iter().flatten().any(|response| response.is_old);
        if round.number == 1 || !under_way || !self.rules.has(Rule::RoundsApart) {
            let left = (0..self.layers as u8).filter(|layer| round.purged >> layer & 1 == 0);
            steps.extend(left.map(Step::Purge));
        }
        if round.purged == (1 << self.layers) - 1 {
            steps.push(Step::EndRound);
        }
    }

    pub(super) fn round_steps(&self, next: &mut State, step: Step) {
        let State { lane, layers, responses, .. } = next;
        match (step, &mut lane.round) {
            (Step::Round, _) => {
                lane.round = lane.pending.take().map(|through| Round { through, number: 1, purged: 0 });
            }
            (Step::Purge(layer), Some(round)) => {
                round.purged |= 1 << layer;
                layers[usize::from(layer)] = None;
            }
            (_, Some(round)) => {
                responses.iter_mut().flatten().for_each(|response| response.is_old = true);
                if round.number < self.rounds() {
                    *round = Round { number: round.number + 1, purged: 0, ..*round };
                } else {
                    lane.done = round.through;
                    lane.round = None;
                }
            }
            _ => {}
        }
    }

    fn rounds(&self) -> u8 {
        match (self.rules.has(Rule::MoreRounds), self.rules.has(Rule::RoundForEachLayer)) {
            (false, _) => 1,
            (true, false) => 2,
            (true, true) => self.layers as u8 + 1,
        }
    }
}
