//! (e): a key that changes faster than it is filled. Looks for a cycle of changes and of whole attempts to fill, in which
//! the entry is never there.

use crate::explore::{End, Explored};
use crate::promise::Promise;
use crate::rules::{Rule, Rules};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nothing,
    ReadersLease,
    EnginesLease,
    Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Rest,
    Leased,
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    place: Place,
    reader: At,
    /// The reader's lease still lies there.
    is_live: bool,
    engine: At,
}

/// What happened, and how it then is.
type Step = (&'static str, State);

/// Looks for the cycle.
pub fn explore(rules: Rules) -> Explored {
    let start = State { place: Place::Nothing, reader: At::Rest, is_live: false, engine: At::Rest };
    let (mut path, mut done) = (Vec::new(), Vec::new());
    let cycle = starved(start, rules, &mut path, &mut done);
    let end = cycle.map_or(End::Holds, |cycle| End::Broken(Promise::Progress, cycle));
    Explored { states: done.len() + path.len(), depth: 0, end }
}

/// A cycle that has a change and a fill in it, and no entry.
fn starved(
    state: State,
    rules: Rules,
    path: &mut Vec<(State, &'static str)>,
    done: &mut Vec<State>,
) -> Option<Vec<String>> {
    if let Some(from) = path.iter().position(|(earlier, _)| *earlier == state) {
        let cycle: Vec<String> = path[from..].iter().map(|(_, step)| (*step).to_owned()).collect();
        let has = |wanted: &str| cycle.iter().any(|step| step == wanted);
        return (has("change") && has("fill")).then_some(cycle);
    }
    if done.contains(&state) {
        return None;
    }
    for (step, next) in steps(state, rules) {
        if next.place == Place::Entry {
            continue;
        }
        path.push((state, step));
        let found = starved(next, rules, path, done);
        if found.is_some() {
            return found;
        }
        path.pop();
    }
    done.push(state);
    None
}

fn steps(state: State, rules: Rules) -> Vec<Step> {
    let mut steps = Vec::new();
    match state.engine {
        At::Rest => steps.push(("change", changed(state, rules))),
        At::Leased => steps.push(("the engine reads", State { engine: At::Read, ..state })),
        At::Read => steps.push(("the engine fills", State { engine: At::Rest, place: Place::Entry, ..state })),
    }
    match state.reader {
        At::Rest if state.place == Place::Nothing => {
            let leased = State { place: Place::ReadersLease, reader: At::Leased, is_live: true, ..state };
            steps.push(("lease", leased));
        }
        At::Rest => {}
        At::Leased => steps.push(("read", State { reader: At::Read, ..state })),
        At::Read => {
            let place = if state.is_live { Place::Entry } else { state.place };
            steps.push(("fill", State { place, reader: At::Rest, is_live: false, ..state }));
        }
    }
    steps
}

/// The change voids whatever lease there is.
fn changed(state: State, rules: Rules) -> State {
    let wanted = state.place != Place::Nothing && rules.has(Rule::EngineTakesLease);
    let (place, engine) = if wanted { (Place::EnginesLease, At::Leased) } else { (Place::Nothing, At::Rest) };
    State { place, engine, is_live: false, ..state }
}
