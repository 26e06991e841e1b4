//! One page behind a CDN of one or two layers. The origin reads a tier that may fall back; a response may be stored as late
//! as the maximum response time allows; the lane purges in rounds, and keeps its place at L3 in L2's watermark.
//!
//! A page's content is the position of the tier that it was made from.

mod lane;
mod responses;
mod rounds;
mod tidy;
mod words;

use std::fmt::Display;

use crate::edge::lane::{Call, Lane, TierMark};
use crate::edge::responses::Response;
use crate::edge::tidy::spend;
use crate::explore::Model;
use crate::promise::{Promise, Promises};
use crate::rules::Rules;

/// Not counted.
pub const ANY: u8 = u8::MAX;
const TIERS: usize = 2;
const LAYERS: usize = 2;
const RESPONSES: usize = 2;

/// Calls that may arrive once more, at any later time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// None.
    Nothing,
    /// Those that move `l3` only.
    Moves,
    /// The call of an owner that has lost the partition, and has seen no answer.
    OldOwner,
}

/// A model: its rules, and its bounds.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Which rules are on.
    pub rules: Rules,
    /// Changes of the page.
    pub changes: u8,
    /// 1: the origin reads L2 only.
    pub tiers: usize,
    /// Layers of the CDN.
    pub layers: usize,
    /// Fail-overs of each tier.
    pub failovers: [u8; TIERS],
    /// Crashes of the engine.
    pub crashes: u8,
    /// What may arrive late.
    pub late: Late,
    /// Whether what was shown is remembered, for (b).
    pub remembers: bool,
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    tiers: [TierMark; TIERS],
    saved: [Option<TierMark>; TIERS],
    lane: Lane,
    late: Option<Call>,
    /// The inner layer first.
    layers: [Option<u8>; LAYERS],
    responses: [Option<Response>; RESPONSES],
    failovers: [u8; TIERS],
    crashes: u8,
    shown: u8,
    backwards: bool,
}

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The lane's next call to a tier, or where no tier lacks it, the purge alone.
    Apply,
    /// A call without actions to L2: moves `l3`, and finds a fail-over.
    Move,
    /// A call without actions to L1 finds a fail-over.
    Notice,
    /// The engine dies, and another opens the lane.
    Crash,
    /// The same, and the former owner, which has seen no answer, will send its call to L2 again.
    HandOver {
        /// Whether that call has landed before.
        has_landed: bool,
    },
    /// It comes.
    LateCall,
    /// A round begins.
    Round,
    /// It reaches a layer.
    Purge(u8),
    /// It ends.
    EndRound,
    /// A layer asks the origin, which first looks how far purges have begun.
    Fetch,
    /// The origin reads a tier. The response; the tier.
    Read(u8, u8),
    /// The outer layer asks the inner one.
    FetchInner,
    /// A response is stored.
    Store(u8),
    /// It is lost.
    Lose(u8),
    /// The replica has this much.
    Save(u8),
    /// The node falls back to that.
    FailOver(u8),
}

impl Model for Edge {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let opened = TierMark { owner: 1, ..TierMark::default() };
        State {
            tiers: [opened, TierMark::default()],
            saved: [None; TIERS],
            lane: Lane { owner: opened.owner, ..Lane::default() },
            late: None,
            layers: [None; LAYERS],
            responses: [None; RESPONSES],
            failovers: self.failovers,
            crashes: self.crashes,
            shown: 0,
            backwards: false,
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps_of_lane(state, steps);
        self.steps_of_rounds(state, steps);
        self.steps_of_responses(state, steps);
        for tier in 0..self.tiers as u8 {
            if state.failovers[usize::from(tier)] > 0 {
                let has_saved = state.saved[usize::from(tier)].is_some();
                steps.push(if has_saved { Step::FailOver(tier) } else { Step::Save(tier) });
            }
        }
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Apply | Step::Move | Step::Notice | Step::Crash | Step::HandOver { .. } | Step::LateCall => {
                self.lane_steps(&mut next, step);
            }
            Step::Round | Step::Purge(_) | Step::EndRound => self.round_steps(&mut next, step),
            Step::Fetch | Step::FetchInner | Step::Read(..) | Step::Store(_) | Step::Lose(_) => {
                self.response_steps(&mut next, step);
            }
            Step::Save(tier) => next.saved[usize::from(tier)] = Some(next.tiers[usize::from(tier)]),
            Step::FailOver(tier) => {
                let tier = usize::from(tier);
                spend(&mut next.failovers[tier]);
                next.tiers[tier] = next.saved[tier].take().unwrap_or_default();
            }
        }
        self.tidy(&mut next);
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let stale = |page: &Option<u8>| page.is_some_and(|page| page != self.changes);
        let is_stale = self.is_settled(state) && state.layers.iter().any(stale);
        Promises::NONE.with(Promise::NoStaleness, is_stale).with(Promise::NeverBackwards, state.backwards)
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        self.words(before, step, after)
    }
}

impl Edge {
    /// Everything is applied and purged, and the lane knows of nothing more to do.
    fn is_settled(&self, state: &State) -> bool {
        let applied = |tier: usize| state.tiers[tier].pos == self.changes && state.lane.expect[tier] == self.changes;
        (0..self.tiers).all(applied) && !self.has_lost_l2(state) && state.lane.is_at_rest(self.changes)
    }
}
