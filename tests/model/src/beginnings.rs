//! Where a lane starts on a node that it does not know: one that came back empty, or whose place in Kafka's log is gone.
//! The floor rises to a settled moment, and the lane goes on from where the log ended before that moment.
//!
//! Commit n has the position n + 1, and the log's offset n - 1; position 0 is a node without a watermark.

mod steps;

use std::fmt::Display;

use crate::explore::Model;
use crate::history::History;
use crate::promise::{Promise, Promises};
use crate::rules::Rules;
use crate::tier::{Fill, Node};

/// The one reader's.
const NONCE: u8 = 1;

/// A model: its rules, and its bounds. A node forgets, and the log is cut, as often as they may.
#[derive(Clone, Debug)]
pub struct Beginnings {
    /// Which rules are on.
    pub rules: Rules,
    /// What happens in the database.
    pub history: History,
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Commits in the database's log, those that are visible (bit by bit), and those in Kafka.
    log: u8,
    visible: u8,
    published: u8,
    /// Kafka has none before it.
    oldest: u8,
    node: Node,
    saved: Option<Node>,
    lane: Lane,
    reader: Option<Reader>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Closed,
    /// It has read the log's end, and waits for the moment.
    End(u8),
    /// The other way round.
    Moment(u8),
    Open {
        expect: u8,
        next: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Leased(u8),
    Read(Fill),
}

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A commit is in the database's log.
    Commit,
    /// One becomes visible.
    Visible(u8),
    /// One is in Kafka.
    Publish,
    /// Kafka drops all that it has.
    Cut,
    /// The lane opens on a watermark that it can use.
    Open,
    /// The lane reads the log's end.
    ReadEnd,
    /// It hears of a settled moment.
    Settle,
    /// The floor rises.
    Raise,
    /// The lane's next change.
    Apply,
    /// The engine dies.
    Crash,
    /// The node comes back empty.
    Forget,
    /// The replica has this much.
    Save,
    /// The node falls back to that.
    FailOver,
    /// A reader's miss.
    Lease,
    /// Its read.
    Read,
    /// Its fill.
    Fill,
}

impl Model for Beginnings {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let node = Node::default();
        State { log: 0, visible: 0, published: 0, oldest: 0, node, saved: None, lane: Lane::Closed, reader: None }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        let next = state.log + 1;
        if next <= self.history.len() && !self.history.is_locked(next, state.visible) {
            steps.push(Step::Commit);
        }
        steps.extend((1..=state.log).filter(|number| !is_visible(state, *number)).map(Step::Visible));
        if state.published < state.log {
            steps.push(Step::Publish);
        }
        steps.extend([Step::Cut, Step::Crash, Step::Forget]);
        steps.push(if state.saved.is_some() { Step::FailOver } else { Step::Save });
        self.steps_of_lane(state, steps);
        match state.reader {
            None => steps.extend(state.node.lease(NONCE).map(|_| Step::Lease)),
            Some(Reader::Leased(_)) => steps.push(Step::Read),
            Some(Reader::Read(_)) => steps.push(Step::Fill),
        }
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Commit => next.log += 1,
            Step::Visible(number) => next.visible |= 1 << (number - 1),
            Step::Publish => next.published += 1,
            Step::Cut => next.oldest = next.published,
            Step::Crash => next.lane = Lane::Closed,
            Step::Forget => next.node = Node::default(),
            Step::Save => next.saved = Some(next.node),
            Step::FailOver => next.node = next.saved.take().unwrap_or_default(),
            Step::Open | Step::ReadEnd | Step::Settle | Step::Raise | Step::Apply => self.lane_step(&mut next, step),
            Step::Lease | Step::Read | Step::Fill => self.reader_step(&mut next, step),
        }
        next.forget_dead_lease();
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let Some(entry) = state.node.living() else { return Promises::NONE };
        let end = self.history.len();
        let is_applied = matches!(state.lane, Lane::Open { expect, next } if expect == state.node.pos && next == end);
        let is_settled = is_applied && state.visible == (1 << end) - 1;
        let owed = self.history.prefix(state.node.pos.max(entry.low).saturating_sub(1).min(state.log));
        let lacks = self.history.columns().any(|column| entry.values[column] < owed[column]);
        let is_stale = entry.values != self.history.prefix(end);
        Promises::NONE.with(Promise::NoStaleness, is_settled && is_stale).with(Promise::Watermark, lacks)
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        match step {
            Step::Commit => format!("c{}", after.log),
            Step::Visible(number) => format!("v{number}"),
            Step::Publish => format!("c{} is in Kafka", after.published),
            Step::Cut => "Kafka's log is cut".to_owned(),
            Step::Open => "the lane opens on the watermark that it finds".to_owned(),
            Step::ReadEnd => format!("the lane reads the log's end: {}", after.published),
            Step::Settle => format!("the moment: behind {} commits", after.log),
            Step::Raise => format!("the lane raises; {}", steps::node(after)),
            Step::Apply => format!("the lane's next change; {}", steps::node(after)),
            Step::Crash => "the engine crashes".to_owned(),
            Step::Forget => "the node comes back empty".to_owned(),
            Step::Save => "save: the replica has this much".to_owned(),
            Step::FailOver => format!("FO; {}", steps::node(after)),
            Step::Lease => format!("lease@{}", before.node.pos),
            Step::Read => format!("a reader reads {:?}", self.history.contents(before.visible)),
            Step::Fill => format!("fill; {}", steps::node(after)),
        }
    }
}

fn is_visible(state: &State, number: u8) -> bool {
    state.visible >> (number - 1) & 1 == 1
}
