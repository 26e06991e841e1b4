//! The heart of the protocol: one entry on one tier or on two, from the commit to the reader. Writers, the gate, the lane,
//! a former owner of its partition, readers, the engine's own fills, evictions, nodes that fall back.

mod agents;
mod lane;
mod step;
mod tidy;
mod words;
mod world;

use std::fmt::Display;

use crate::explore::Model;
use crate::history::{COLUMNS, History, MISSING, Values};
use crate::pipeline::agents::Agent;
use crate::pipeline::lane::Lane;
pub use crate::pipeline::step::Step;
use crate::pipeline::world::{is_visible, spend};
use crate::promise::{Promise, Promises};
use crate::rules::Rules;
use crate::tier::{Fill, Node};

/// Readers at once, at most.
pub const READERS_MAX: usize = 2;
/// Readers, and one fill of the engine's own for each tier.
const AGENTS: usize = READERS_MAX + TIERS;
const TIERS: usize = 2;
/// As often as it may be: not counted.
pub const ANY: u8 = u8::MAX;

/// How often each mishap may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mishaps {
    /// An entry or a marker goes, by TTL or under memory pressure.
    pub evictions: u8,
    /// A node of L2, of L1, falls back to what its replica has.
    pub failovers: [u8; TIERS],
    /// The engine dies, and another takes over.
    pub crashes: u8,
    /// Another takes over while the former owner goes on.
    pub old_owners: u8,
    /// A fill is sent twice.
    pub fills_twice: u8,
    /// A snapshot of the table comes through the log.
    pub snapshots: u8,
}

/// A model: its rules, and its bounds.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What happens in the database.
    pub history: History,
    /// Which rules are on.
    pub rules: Rules,
    /// 1: L2 only.
    pub tiers: usize,
    /// Readers at once.
    pub readers: usize,
    /// Changes that one call may carry.
    pub fold_max: u8,
    /// Where a mishap is possible, and how often.
    pub mishaps: Mishaps,
    /// Whether what readers have seen is remembered, for (b).
    pub remembers: bool,
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Commits in the log.
    log: u8,
    /// Those that are visible, bit by bit.
    visible: u8,
    nodes: [Node; TIERS],
    /// What each node's replica has, once it matters.
    saved: [Option<Node>; TIERS],
    lane: Lane,
    old: Option<Lane>,
    /// What the engine has committed in Kafka; only a lane that starts there reads it.
    committed: u8,
    agents: [Agent; AGENTS],
    /// A fill that comes once more.
    again: Option<(u8, Fill)>,
    snapshot: Option<Snapshot>,
    left: Mishaps,
    /// The newest value of each column that a tier has shown.
    shown: [Values; TIERS],
    backwards: [bool; TIERS],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Snapshot {
    position: u8,
    values: Values,
    /// Tiers that it has not come to, bit by bit.
    tiers: u8,
}

impl Model for Pipeline {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            log: 0,
            visible: 0,
            nodes: [Node::default(); TIERS],
            saved: [None; TIERS],
            lane: Lane::default(),
            old: None,
            committed: 0,
            agents: [Agent::Idle; AGENTS],
            again: None,
            snapshot: None,
            left: self.mishaps,
            shown: [[0; COLUMNS]; TIERS],
            backwards: [false; TIERS],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps_of_writers(state, steps);
        self.steps_of_lanes(state, steps);
        self.steps_of_agents(state, steps);
        self.mishaps(state, steps);
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Commit => next.log += 1,
            Step::Visible(number) => next.visible |= 1 << (number - 1),
            Step::Apply { is_old, .. } | Step::Move { is_old } => self.lane_steps(&mut next, step, is_old),
            Step::Notice => next.lane = self.open(&next),
            Step::CommitOffset => next.committed = next.lane.next,
            Step::Crash | Step::Rebalance => self.hand_over(&mut next, step),
            Step::Lease { .. }
            | Step::Read(_)
            | Step::ReadPast(_)
            | Step::Fill(_)
            | Step::FillAgain
            | Step::GiveUp(_) => self.agent_steps(&mut next, step),
            Step::Evict(_) | Step::Expire(_) | Step::Save(_) | Step::FailOver(_) => world::mishap(&mut next, step),
            Step::Snapshot | Step::Plant(_) => self.snapshot_steps(&mut next, step),
        }
        self.tidy(&mut next);
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let mut broken = Promises::NONE;
        let is_settled = self.is_settled(state);
        for (tier, node) in state.nodes[..self.tiers].iter().enumerate() {
            let promise = [Promise::NeverBackwards, Promise::NeverBackwardsL1][tier];
            broken = broken.with(promise, state.backwards[tier]);
            broken = broken.with(Promise::OneFiller, self.holders(state, tier) > 1);
            broken = broken.with(Promise::NoMarkerBeside, node.marker.is_some() && node.entry.is_some());
            let Some(entry) = node.living() else { continue };
            broken = broken.with(Promise::NeverPartial, !self.history.is_whole(&entry.values));
            let stale = is_settled && self.differs(&entry.values, &self.history.contents(state.visible));
            broken = broken.with(Promise::NoStaleness, stale);
            let owed = self.history.prefix(node.pos.max(entry.low).min(state.log));
            broken = broken.with(Promise::Watermark, self.lacks(&entry.values, &owed));
        }
        broken
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        self.words(before, step, after)
    }
}

impl Pipeline {
    /// Everything has happened, and everything that happened has been applied.
    fn is_settled(&self, state: &State) -> bool {
        let end = self.history.len();
        let applied = |tier: usize| state.nodes[tier].pos == end && state.lane.expect[tier] == end;
        state.log == end
            && state.visible == ((1_u16 << end) - 1) as u8
            && state.lane.is_at_rest(end)
            && state.snapshot.is_none_or(|snapshot| snapshot.tiers == 0)
            && (0..self.tiers).all(applied)
    }

    fn differs(&self, values: &Values, wanted: &Values) -> bool {
        self.history.columns().any(|column| values[column] != wanted[column])
    }

    fn lacks(&self, values: &Values, owed: &Values) -> bool {
        let both = |column: usize| values[column] != MISSING && owed[column] != MISSING;
        self.history.columns().any(|column| both(column) && values[column] < owed[column])
    }
}
