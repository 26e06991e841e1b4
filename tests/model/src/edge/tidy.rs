//! States that differ in names only are one.

use super::{Edge, State};

impl Edge {
    /// The names of owners mean nothing, and neither does the order of responses.
    pub(super) fn tidy(&self, state: &mut State) {
        state.responses.sort_unstable();
        let mut names = [0; 2];
        names[0] = state.lane.owner;
        names[1] = state.late.map_or(0, |call| call.owner);
        let rename = |owner: &mut u8| {
            *owner = names.iter().position(|name| name == owner && *name != 0).map_or(0, |name| name as u8 + 1);
        };
        let marks = state.tiers.iter_mut().chain(state.saved.iter_mut().flatten());
        marks.for_each(|mark| rename(&mut mark.owner));
        rename(&mut state.lane.owner);
        state.late.iter_mut().for_each(|call| rename(&mut call.owner));
    }
}

/// One less of what is counted.
pub(super) fn spend(left: &mut u8) {
    if *left != super::ANY {
        *left -= 1;
    }
}
