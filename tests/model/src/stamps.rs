//! An entry of many rows with two tags, whose stamps it carries: for the tags lane, which is not built yet. The entry, the
//! stamps and the row lie on nodes of their own. A change is published to its tags, then applied to L2; a lane a tag
//! writes stamps; a hit needs every stamp present and equal.

mod agents;
mod lanes;
mod words;

use std::fmt::Display;

use crate::explore::Model;
use crate::promise::{Promise, Promises};
use crate::rules::Rules;
use crate::stamps::agents::Agent;
use crate::stamps::lanes::{StampNode, TagLane};

/// Not counted.
pub const ANY: u8 = u8::MAX;
const TAGS: usize = 2;
const AGENTS: usize = 2;

/// A model: its rules, and its bounds.
#[derive(Clone, Debug)]
pub struct Stamps {
    /// Which rules are on.
    pub rules: Rules,
    /// The tags of each change, bit by bit; each changes a row of its own.
    pub changes: Vec<u8>,
    /// Evictions of the entry or its marker.
    pub evictions: u8,
    /// Evictions of a stamp.
    pub stamps_evicted: u8,
    /// Crashes of the row's engine, or of a tag's lane.
    pub crashes: u8,
    /// Fail-overs of tag 0's node.
    pub failovers: u8,
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    log: u8,
    visible: u8,
    /// Changes that are on L2; tags published of the next one; tags still to be published of the last, where that comes later.
    applied: u8,
    published: u8,
    owed: u8,
    /// Events of each tag.
    topics: [u8; TAGS],
    lanes: [TagLane; TAGS],
    nodes: [StampNode; TAGS],
    saved: Option<StampNode>,
    entry: Option<Entry>,
    /// The nonce of the entry's lease; 0: none.
    marker: u8,
    agents: [Agent; AGENTS],
    shown: u8,
    backwards: bool,
    left: [u8; 4],
}

/// What a result was made from: the changes that it holds, and its tags' stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    holds: u8,
    stamps: [u8; TAGS],
}

const EVICTIONS: usize = 0;
const STAMPS_EVICTED: usize = 1;
const CRASHES: usize = 2;
const FAILOVERS: usize = 3;

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next commit.
    Commit,
    /// A commit becomes visible.
    Visible(u8),
    /// A change is published to a tag.
    Publish(u8),
    /// It is applied to L2.
    ApplyRow,
    /// The row's engine dies.
    CrashEngine,
    /// A tag's lane stamps, or finds its watermark elsewhere.
    Stamp(u8),
    /// A call without events: moves the watermark, or finds it elsewhere.
    Follow(u8),
    /// The lane's offset is committed.
    CommitOffset(u8),
    /// The lane dies.
    CrashLane(u8),
    /// An agent reads the entry: a hit to be validated, or a lease.
    Look(u8),
    /// Its next step.
    Go(u8),
    /// The entry goes.
    Evict,
    /// The marker goes.
    Expire,
    /// A stamp goes.
    EvictStamp(u8),
    /// The replica of tag 0's node has this much.
    Save,
    /// It falls back to that.
    FailOver,
}

impl Model for Stamps {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            log: 0,
            visible: 0,
            applied: 0,
            published: 0,
            owed: 0,
            topics: [0; TAGS],
            lanes: [TagLane::default(); TAGS],
            nodes: [StampNode::default(); TAGS],
            saved: None,
            entry: None,
            marker: 0,
            agents: [Agent::default(); AGENTS],
            shown: 0,
            backwards: false,
            left: [self.evictions, self.stamps_evicted, self.crashes, self.failovers],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps_of_rows(state, steps);
        self.steps_of_tag_lanes(state, steps);
        self.steps_of_agents(state, steps);
        if state.left[EVICTIONS] > 0 {
            steps.extend(state.entry.map(|_| Step::Evict));
            steps.extend((state.marker != 0).then_some(Step::Expire));
        }
        if state.left[FAILOVERS] > 0 {
            steps.push(if state.saved.is_some() { Step::FailOver } else { Step::Save });
        }
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Look(who) => self.look(&mut next, usize::from(who)),
            Step::Go(who) => self.go(&mut next, usize::from(who)),
            Step::Evict => {
                spend(&mut next.left[EVICTIONS]);
                next.entry = None;
            }
            Step::Expire => {
                spend(&mut next.left[EVICTIONS]);
                next.marker = 0;
            }
            Step::EvictStamp(tag) => {
                spend(&mut next.left[STAMPS_EVICTED]);
                next.nodes[usize::from(tag)].stamp = 0;
            }
            Step::Save => next.saved = Some(next.nodes[0]),
            Step::FailOver => {
                spend(&mut next.left[FAILOVERS]);
                next.nodes[0] = next.saved.take().unwrap_or_default();
            }
            _ => self.lane_step(&mut next, step),
        }
        self.tidy(&mut next);
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let everything = (1 << self.changes.len()) - 1;
        let would_hit = |entry: &Entry| (0..TAGS).all(|tag| self.equals(state.nodes[tag].stamp, entry.stamps[tag]));
        let is_stale = state.entry.is_some_and(|entry| entry.holds != everything && would_hit(&entry));
        let is_settled = state.visible == everything && self.is_published(state);
        Promises::NONE.with(Promise::NoStaleness, is_settled && is_stale).with(Promise::NeverBackwards, state.backwards)
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        self.words(before, step, after)
    }
}

/// One less of what is counted.
fn spend(left: &mut u8) {
    if *left != ANY {
        *left -= 1;
    }
}
