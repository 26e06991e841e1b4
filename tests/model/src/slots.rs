//! A slot of a cluster that moves to another node, at once: where does the watermark lie that speaks for its entries?

use std::fmt::Display;

use crate::explore::Model;
use crate::history::History;
use crate::promise::{Promise, Promises};
use crate::rules::{Rule, Rules};
use crate::tier::{Fill, GREATEST, Node};

const NODES: usize = 2;
const NONCE: u8 = 1;

/// A model: its rules, and its bounds.
#[derive(Clone, Debug)]
pub struct Slots {
    /// Which rules are on.
    pub rules: Rules,
    /// What happens in the database; visible at once.
    pub history: History,
}

/// All that tells two moments apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    log: u8,
    /// The node that has the slot, and the one that the lane believes has it.
    owner: usize,
    believed: usize,
    /// The slot's keys. Its position counts only where the watermark lies in the slot.
    slot: Node,
    /// The watermarks of whole nodes, which count otherwise.
    nodes: [u8; NODES],
    expect: u8,
    reader: Option<Reader>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Leased(u8),
    Read(Fill),
}

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A commit.
    Commit,
    /// The slot's lane.
    Apply,
    /// A node's lane.
    ApplyOn(u8),
    /// The slot moves.
    Move,
    /// The engine learns of it.
    Map,
    /// The engine dies, and another opens the lane.
    Crash,
    /// A reader's miss.
    Lease,
    /// Its read.
    Read,
    /// Its fill.
    Fill,
}

impl Model for Slots {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State { log: 0, owner: 0, believed: 0, slot: Node::default(), nodes: [0; NODES], expect: 0, reader: None }
    }

    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        if state.log < self.history.len() {
            steps.push(Step::Commit);
        }
        if !self.lies_in_slot() {
            let behind = (0..NODES as u8).filter(|node| state.nodes[usize::from(*node)] < state.log);
            steps.extend(behind.map(Step::ApplyOn));
        } else if state.expect < state.log {
            steps.push(Step::Apply);
        }
        steps.extend([Step::Move, Step::Map, Step::Crash]);
        match state.reader {
            None => steps.extend(state.slot.lease(NONCE).map(|_| Step::Lease)),
            Some(Reader::Leased(_)) => steps.push(Step::Read),
            Some(Reader::Read(_)) => steps.push(Step::Fill),
        }
    }

    fn after(&self, state: &State, step: Step) -> State {
        let mut next = *state;
        match step {
            Step::Commit => next.log += 1,
            Step::Apply if next.slot.pos == next.expect => {
                next.expect += 1;
                next.slot.pos = next.expect;
                self.act(&mut next.slot, state.expect);
            }
            Step::Apply | Step::Crash => (next.expect, next.believed) = (next.slot.pos, next.owner),
            Step::ApplyOn(node) => self.apply_on(&mut next, usize::from(node)),
            Step::Move => next.owner = 1 - next.owner,
            Step::Map => next.believed = next.owner,
            Step::Lease | Step::Read | Step::Fill => self.reader_step(&mut next, step),
        }
        if next.slot.marker.is_none() {
            next.reader = None;
        }
        next
    }

    fn broken(&self, state: &State) -> Promises {
        let end = self.history.len();
        let is_settled = if self.lies_in_slot() { state.slot.pos == end } else { state.nodes == [end; NODES] };
        let stale = |values| values != self.history.prefix(end);
        let is_stale = state.slot.living().is_some_and(|entry| stale(entry.values));
        Promises::NONE.with(Promise::NoStaleness, state.log == end && is_settled && is_stale)
    }

    fn say(&self, before: &State, step: Step, after: &State) -> impl Display {
        let node = |node: usize| ["X", "Y"][node];
        match step {
            Step::Commit => format!("cv{}", after.log),
            Step::Apply => format!("A{} in the slot, W={}", after.expect, after.slot.pos),
            Step::ApplyOn(at) => {
                let at = usize::from(at);
                let passed = if before.slot == after.slot { " finds nothing to do there" } else { "" };
                format!("{}'s lane comes to c{}{passed}; W={:?}", node(at), before.nodes[at] + 1, after.nodes)
            }
            Step::Move => format!("the slot moves to {}", node(after.owner)),
            Step::Map => format!("the engine learns that the slot is on {}", node(after.believed)),
            Step::Crash => "the engine crashes; another opens the lane".to_owned(),
            Step::Lease => "lease".to_owned(),
            Step::Read => format!("a reader reads P={}", self.history.prefix(before.log)[0]),
            Step::Fill => format!("fill: {:?}", after.slot.entry.map(|entry| entry.values[0])),
        }
    }
}

impl Slots {
    fn lies_in_slot(&self) -> bool {
        self.rules.has(Rule::WatermarkInSlot)
    }

    /// Without a watermark in the slot: each node has a lane, which passes over what it believes to lie elsewhere.
    fn apply_on(&self, next: &mut State, node: usize) {
        if next.believed == node && next.owner != node {
            next.believed = next.owner;
            return;
        }
        if next.believed == node {
            self.act(&mut next.slot, next.nodes[node]);
        }
        next.nodes[node] += 1;
    }

    fn act(&self, slot: &mut Node, after: u8) {
        let action = self.history.fold(after, after + 1, true);
        if slot.act(action, after + 1, NONCE + 1, &self.history, self.rules) {
            // The engine's own fill is a reader like any; here it never comes.
            slot.marker = None;
        }
    }

    fn reader_step(&self, next: &mut State, step: Step) {
        match (step, next.reader) {
            (Step::Lease, _) => {
                let Some(leased) = next.slot.lease(NONCE) else { return };
                next.slot = leased;
                next.reader = Some(Reader::Leased(leased.pos));
            }
            (Step::Read, Some(Reader::Leased(low))) => {
                let values = self.history.prefix(next.log);
                let fill = Fill { nonce: NONCE, values, low, high: next.log, source_at: GREATEST, timeline: 0 };
                next.reader = Some(Reader::Read(fill));
            }
            (_, Some(Reader::Read(fill))) => {
                next.slot.fill(fill, self.rules);
                next.reader = None;
            }
            _ => {}
        }
    }
}
