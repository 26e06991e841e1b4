//! States that differ in names only are one: nonces get new names in the order in which they lie, readers are sorted, and
//! what can have no effect any more is forgotten.

use super::agents::Agent;
use super::lane::NOBODY;
use super::{Pipeline, READERS_MAX, State};
use crate::history::MISSING;
use crate::rules::Rule;
use crate::tier::Marker;

/// The nonce of a lease that is granted in this step.
pub(super) const FRESH: u8 = 9;
/// Markers that may lie somewhere: two tiers, and their replicas.
const MARKERS_MAX: usize = 4;

impl Pipeline {
    pub(super) fn tidy(&self, state: &mut State) {
        if self.remembers {
            (0..self.tiers).for_each(|tier| self.remember(state, tier));
        }
        if self.rules.has(Rule::RandomNonce) {
            forget_dead_leases(state);
            rename_nonces(state);
        }
        state.agents[..READERS_MAX].sort_unstable();
    }

    /// A read is assumed at every moment.
    fn remember(&self, state: &mut State, tier: usize) {
        let Some(entry) = state.nodes[tier].living() else { return };
        for column in self.history.columns().filter(|column| entry.values[*column] != MISSING) {
            let shown = &mut state.shown[tier][column];
            state.backwards[tier] |= entry.values[column] < *shown;
            *shown = entry.values[column].max(*shown);
        }
    }
}

/// A nonce whose marker lies nowhere never matches again, so its holder may as well stop now.
fn forget_dead_leases(state: &mut State) {
    let lives = |state: &State, lease: Option<(u8, u8)>| {
        lease.is_none_or(|(tier, nonce)| markers(state, tier).any(|marker| marker.nonce == nonce))
    };
    for who in 0..state.agents.len() {
        if !lives(state, state.agents[who].nonce()) {
            state.agents[who] = Agent::Idle;
        }
    }
    if !lives(state, state.again.map(|(tier, fill)| (tier, fill.nonce))) {
        state.again = None;
    }
}

fn markers(state: &State, tier: u8) -> impl Iterator<Item = Marker> {
    let tier = usize::from(tier);
    [state.nodes[tier].marker, state.saved[tier].and_then(|saved| saved.marker)].into_iter().flatten()
}

/// Names are given in the order of tiers, a node before its replica. A marker that nobody holds is nobody's.
fn rename_nonces(state: &mut State) {
    let mut names = [NOBODY; MARKERS_MAX];
    let mut count = 0;
    let held = |state: &State, nonce: u8| {
        let again = state.again.is_some_and(|(_, fill)| fill.nonce == nonce);
        again || state.agents.iter().any(|agent| agent.nonce().is_some_and(|(_, held)| held == nonce))
    };
    for tier in 0..state.nodes.len() as u8 {
        for marker in markers(state, tier) {
            if !names[..count].contains(&marker.nonce) && held(state, marker.nonce) {
                names[count] = marker.nonce;
                count += 1;
            }
        }
    }
    let rename = |nonce: &mut u8| {
        *nonce = names[..count].iter().position(|name| name == nonce).map_or(NOBODY, |name| name as u8 + 1);
    };
    let nodes = state.nodes.iter_mut().chain(state.saved.iter_mut().flatten());
    nodes.filter_map(|node| node.marker.as_mut()).for_each(|marker| rename(&mut marker.nonce));
    state.agents.iter_mut().filter_map(Agent::nonce_mut).for_each(rename);
    state.again.iter_mut().for_each(|(_, fill)| rename(&mut fill.nonce));
}
