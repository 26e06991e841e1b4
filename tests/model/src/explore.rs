//! Explores every state that a model can reach, breadth first: so each trace that is found is a shortest one.

mod visited;

use std::fmt::Display;
use std::hash::Hash;

use crate::explore::visited::{Visited, fingerprint};
use crate::promise::{Promise, Promises};

/// States that one round expands; their successors lie in memory at once.
const ROUND_STATES: usize = 32_768;

/// What can happen, and what must never be.
pub trait Model: Sync {
    /// All that tells two moments apart.
    type State: Clone + Hash + Send + Sync;
    /// One atomic step of one party.
    type Step: Copy;

    /// Where everything begins.
    fn start(&self) -> Self::State;
    /// What can happen next.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Self::Step>);
    /// The state after a step.
    fn after(&self, state: &Self::State, step: Self::Step) -> Self::State;
    /// The promises that a state breaks.
    fn broken(&self, state: &Self::State) -> Promises;
    /// A step in the words of docs/protocol.md, section 12.
    fn say(&self, before: &Self::State, step: Self::Step, after: &Self::State) -> impl Display;
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that visited and waiting states may take.
    pub bytes_max: usize,
    /// Threads that expand states.
    pub threads: usize,
}

/// How an exploration ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// No reachable state breaks what was looked for.
    Holds,
    /// The shortest way to a state that does.
    Broken(Promise, Vec<String>),
    /// There are more states than memory was granted for.
    TooLarge,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps to the farthest of them.
    pub depth: usize,
    /// The verdict.
    pub end: End,
}

/// Looks for a state that breaks one of these promises.
pub fn explore<M: Model>(model: &M, sought: Promises, limits: Limits) -> Explored {
    let start = model.start();
    let mut visited = Visited::new();
    visited.insert(fingerprint(&start), 0);
    let mut waiting = vec![(0, start)];
    let mut depth = 0;
    while !waiting.is_empty() {
        let mut next = Vec::new();
        for round in waiting.chunks(ROUND_STATES) {
            for found in expand_side_by_side(model, &visited, round, sought, limits.threads) {
                let Some(index) = visited.insert(found.fingerprint, found.parent) else { continue };
                if let Some(promise) = found.broken.first() {
                    let end = End::Broken(promise, trace(model, &visited, index));
                    return Explored { states: visited.len(), depth: depth + 1, end };
                }
                next.push((index, found.state));
            }
            let bytes = visited.bytes() + (waiting.len() + next.capacity()) * size_of::<(u32, M::State)>();
            if bytes > limits.bytes_max {
                return Explored { states: visited.len(), depth, end: End::TooLarge };
            }
        }
        depth += usize::from(!next.is_empty());
        waiting = next;
    }
    Explored { states: visited.len(), depth, end: End::Holds }
}

/// A state that no earlier round had reached.
struct Found<S> {
    state: S,
    fingerprint: u128,
    parent: u32,
    broken: Promises,
}

fn expand_side_by_side<M: Model>(
    model: &M,
    visited: &Visited,
    round: &[(u32, M::State)],
    sought: Promises,
    threads: usize,
) -> Vec<Found<M::State>> {
    let share = round.len().div_ceil(threads);
    if threads == 1 || share < 256 {
        return expand(model, visited, round, sought);
    }
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            round.chunks(share).map(|part| scope.spawn(move || expand(model, visited, part, sought))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a model does not panic")).collect()
    })
}

fn expand<M: Model>(model: &M, visited: &Visited, part: &[(u32, M::State)], sought: Promises) -> Vec<Found<M::State>> {
    let (mut found, mut steps) = (Vec::with_capacity(part.len()), Vec::new());
    for (parent, before) in part {
        steps.clear();
        model.steps(before, &mut steps);
        for step in &steps {
            let state = model.after(before, *step);
            let fingerprint = fingerprint(&state);
            if !visited.contains(fingerprint) {
                let broken = model.broken(&state) & sought;
                found.push(Found { state, fingerprint, parent: *parent, broken });
            }
        }
    }
    found
}

/// Goes the way from the start to a state once more, and tells it.
fn trace<M: Model>(model: &M, visited: &Visited, index: u32) -> Vec<String> {
    let mut state = model.start();
    let mut told = Vec::new();
    let mut steps = Vec::new();
    for wanted in visited.way_to(index) {
        steps.clear();
        model.steps(&state, &mut steps);
        let taken = steps.iter().map(|step| (*step, model.after(&state, *step)));
        let (step, after) = taken.into_iter().find(|(_, after)| fingerprint(after) == wanted).expect("it was found so");
        told.push(model.say(&state, step, &after).to_string());
        state = after;
    }
    told
}
