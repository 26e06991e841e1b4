//! Responses under way: from the origin, or from the inner layer to the outer one.

use super::{Edge, State, Step};
use crate::rules::Rule;

/// A response that was not stored yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Response {
    pub(super) stage: Stage,
    /// It was under way when the last round ended.
    pub(super) is_old: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    /// The origin knows how far purges have begun, and has read nothing.
    Asked { begun: u8 },
    /// Made, and on its way to the inner layer.
    Made { page: u8 },
    /// On its way from the inner layer to the outer one.
    Inner { page: u8 },
}

impl Edge {
    pub(super) fn steps_of_responses(&self, state: &State, steps: &mut Vec<Step>) {
        let is_free = state.responses.iter().any(Option::is_none);
        if is_free && state.layers[self.layers - 1].is_none() {
            let asks_origin = self.layers == 1 || state.layers[0].is_none();
            steps.push(if asks_origin { Step::Fetch } else { Step::FetchInner });
        }
        for (at, response) in (0_u8..).zip(&state.responses) {
            let Some(response) = response else { continue };
            steps.push(Step::Lose(at));
            match response.stage {
                Stage::Asked { .. } => steps.extend((0..self.tiers as u8).map(|tier| Step::Read(at, tier))),
                Stage::Made { .. } | Stage::Inner { .. } => steps.push(Step::Store(at)),
            }
        }
    }

    pub(super) fn response_steps(&self, next: &mut State, step: Step) {
        match step {
            Step::Fetch => admit(next, Stage::Asked { begun: next.tiers[0].begun }),
            Step::FetchInner => {
                let Some(page) = next.layers[0] else { return };
                admit(next, Stage::Inner { page });
            }
            Step::Read(at, tier) => {
                let page = next.tiers[usize::from(tier)].pos;
                let at = usize::from(at);
                let Some(Response { stage: Stage::Asked { begun }, is_old }) = next.responses[at] else { return };
                let may_be_kept = page >= begun || !self.rules.has(Rule::NoStore);
                next.responses[at] = may_be_kept.then_some(Response { stage: Stage::Made { page }, is_old });
            }
            Step::Store(at) => self.store(next, usize::from(at)),
            Step::Lose(at) => next.responses[usize::from(at)] = None,
            _ => {}
        }
    }

    fn store(&self, next: &mut State, at: usize) {
        let Some(Response { stage, is_old }) = next.responses[at].take() else { return };
        let (layer, page) = match stage {
            Stage::Made { page } => (0, page),
            Stage::Inner { page } => (1, page),
            Stage::Asked { .. } => return,
        };
        next.layers[layer] = Some(page);
        if layer + 1 < self.layers {
            next.responses[at] = Some(Response { stage: Stage::Inner { page }, is_old });
        } else if self.remembers {
            next.backwards |= page < next.shown;
            next.shown = page.max(next.shown);
        }
    }
}

fn admit(next: &mut State, stage: Stage) {
    if let Some(free) = next.responses.iter_mut().find(|response| response.is_none()) {
        *free = Some(Response { stage, is_old: false });
    }
}
