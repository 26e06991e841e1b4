//! A database that fails over to a standby which lacks the newest commits; the old primary may go on answering. Commits of
//! the new one are written before the new slot exists, and so never come through the log.

mod steps;

use std::fmt::Display;

use crate::epochs::steps::Reader;
use crate::explore::Model;
use crate::history::{COLUMNS, History, PRICE, Values};
use crate::promise::{Promise, Promises};
use crate::rules::Rules;
use crate::tier::Node;

const READERS: usize = 2;
/// Commit n of an epoch has the position `epoch * EPOCH + n`; of the new epoch, it writes the value `COMMITS_OLD_MAX + n`.
const EPOCH: u8 = 16;
const COMMITS_OLD_MAX: u8 = 4;

/// A model: its rules, and its bounds.
#[derive(Clone, Debug)]
pub struct Epochs {
    /// Which rules are on.
    pub rules: Rules,
    /// Commits of the old primary, at most 4.
    pub old: u8,
    /// Commits of the new one.
    pub new: u8,
    /// Whether readers may still ask the old one.
    pub split_brain: bool,
    /// One row, written again and again.
    pub history: History,
}

impl Epochs {
    /// With a history of enough commits.
    pub fn new(rules: Rules, old: u8, new: u8, split_brain: bool) -> Self {
        let history = History::new(&vec![PRICE; usize::from(COMMITS_OLD_MAX + new)]);
        Epochs { rules, old, new, split_brain, history }
    }
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Commits of the old primary.
    old: u8,
    published: u8,
    applied_old: u8,
    /// What the new primary has of them, once it is one.
    fork: Option<u8>,
    /// Its own commits in the log, and those that are visible.
    new: u8,
    visible: u8,
    /// Its commits before the new slot.
    slot: Option<u8>,
    gate_knows: bool,
    event_applied: bool,
    applied_new: u8,
    node: Node,
    readers: [Reader; READERS],
}

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// On the old primary; visible at once.
    Commit,
    /// Of the old history, in the log.
    Publish,
    /// To a standby that has so many of its commits.
    FailOver(u8),
    /// On the new primary.
    CommitNew,
    /// That becomes visible.
    Visible,
    /// Ingest makes a slot on the new primary, and writes the epoch down.
    Slot,
    /// The gate hears of the new epoch.
    GateLearns,
    /// A change of the old epoch.
    ApplyOld,
    /// The event of the new epoch.
    Event,
    /// A change of the new epoch.
    ApplyNew,
    /// A reader's miss.
    Lease(u8),
    /// It reads the primary.
    Read(u8),
    /// It reads the deposed primary.
    ReadDeposed(u8),
    /// Its fill.
    Fill(u8),
}

impl Model for Epochs {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            old: 0,
            published: 0,
            applied_old: 0,
            fork: None,
            new: 0,
            visible: 0,
            slot: None,
            gate_knows: false,
            event_applied: false,
            applied_new: 0,
            node: Node { pos: EPOCH, timeline: 1, ..Node::default() },
            readers: [Reader::Idle; READERS],
        }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        self.steps_of_databases(state, steps);
        self.steps_of_log(state, steps);
        self.steps_of_readers(state, steps);
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Commit => next.old += 1,
            Step::Publish => next.published += 1,
            Step::FailOver(kept) => next.fork = Some(kept),
            Step::CommitNew => next.new += 1,
            Step::Visible => next.visible = next.new,
            Step::Slot => next.slot = Some(next.new),
            Step::GateLearns => next.gate_knows = true,
            Step::ApplyOld | Step::Event | Step::ApplyNew => self.apply(&mut next, step),
            Step::Lease(_) | Step::Read(_) | Step::ReadDeposed(_) | Step::Fill(_) => self.reader_step(&mut next, step),
        }
        next.forget_dead_leases();
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let is_settled = state.event_applied && state.visible == self.new && state.applied_new == self.new;
        let is_stale = state.node.living().is_some_and(|entry| entry.values != self.primary(state));
        Promises::NONE.with(Promise::NoStaleness, is_settled && is_stale)
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        self.words(before, step, after)
    }
}

impl Epochs {
    /// The row as the primary shows it.
    fn primary(&self, state: &State) -> Values {
        match state.fork {
            None => values(state.old),
            Some(kept) if state.visible == 0 => values(kept),
            Some(_) => values(COMMITS_OLD_MAX + state.visible),
        }
    }
}

fn values(number: u8) -> Values {
    let mut values = [0; COLUMNS];
    values[0] = number;
    values
}
