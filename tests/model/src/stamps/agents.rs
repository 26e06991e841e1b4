//! Readers, which fill what they miss: lease, stamps, database, fill.

use super::{AGENTS, Entry, Stamps, State, Step, TAGS};
use crate::rules::Rule;

/// Where an agent is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum At {
    #[default]
    Rest,
    /// It compares a tag's stamp with the entry's.
    Compare(u8),
    /// The entry is dead.
    Dead,
    /// It reads a tag's stamp, under its lease.
    Stamp(u8),
    Database,
    Fill,
}

/// An agent, its lease, and what it has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Agent {
    pub(super) at: At,
    pub(super) nonce: u8,
    pub(super) holds: u8,
    pub(super) stamps: [u8; TAGS],
    /// What hits had shown when it began.
    before: u8,
}

const LIVE: u8 = 1;
const FRESH: u8 = 9;
const STAMPS_MAX: usize = 16;

impl Stamps {
    pub(super) fn steps_of_agents(&self, state: &State, steps: &mut Vec<Step>) {
        for who in 0..AGENTS {
            if who > 0 && state.agents[who] == state.agents[who - 1] {
                continue;
            }
            match state.agents[who].at {
                At::Rest if state.entry.is_some() || state.marker == 0 => steps.push(Step::Look(who as u8)),
                At::Rest => {}
                _ => steps.push(Step::Go(who as u8)),
            }
        }
    }

    /// Missing is never equal.
    pub(super) fn equals(&self, now: u8, then: u8) -> bool {
        let is_missing = now == 0 || then == 0;
        if is_missing { !self.rules.has(Rule::MissingIsNotEqual) } else { now == then }
    }

    pub(super) fn look(&self, next: &mut State, who: usize) {
        match next.entry {
            Some(Entry { holds, stamps }) => {
                let before = next.shown;
                next.agents[who] = Agent { at: At::Compare(0), nonce: 0, holds, stamps, before };
            }
            None => self.lease(next, who),
        }
    }

    fn lease(&self, next: &mut State, who: usize) {
        next.marker = FRESH;
        let at = if self.rules.has(Rule::StampsFirst) { At::Stamp(0) } else { At::Database };
        next.agents[who] = Agent { at, nonce: FRESH, ..Agent::default() };
    }

    pub(super) fn go(&self, next: &mut State, who: usize) {
        let agent = next.agents[who];
        match agent.at {
            At::Rest => {}
            At::Compare(tag) => self.compare(next, who, tag),
            At::Dead => {
                let is_still = next.entry == Some(Entry { holds: agent.holds, stamps: agent.stamps });
                next.agents[who] = Agent::default();
                if is_still && next.marker == 0 {
                    next.entry = None;
                    self.lease(next, who);
                }
            }
            At::Stamp(tag) => {
                self.create(next, usize::from(tag));
                next.agents[who].stamps[usize::from(tag)] = next.nodes[usize::from(tag)].stamp;
                let then = if self.rules.has(Rule::StampsFirst) { At::Database } else { At::Fill };
                next.agents[who].at = if usize::from(tag) + 1 < TAGS { At::Stamp(tag + 1) } else { then };
            }
            At::Database => {
                next.agents[who].holds = next.visible;
                next.agents[who].at = if self.rules.has(Rule::StampsFirst) { At::Fill } else { At::Stamp(0) };
            }
            At::Fill => {
                next.agents[who] = Agent::default();
                if next.marker == agent.nonce {
                    next.marker = 0;
                    next.entry = Some(Entry { holds: agent.holds, stamps: agent.stamps });
                }
            }
        }
    }

    fn compare(&self, next: &mut State, who: usize, tag: u8) {
        let agent = next.agents[who];
        let (now, then) = (next.nodes[usize::from(tag)].stamp, agent.stamps[usize::from(tag)]);
        if !self.equals(now, then) {
            next.agents[who].at = At::Dead;
        } else if usize::from(tag) + 1 < TAGS {
            next.agents[who].at = At::Compare(tag + 1);
        } else {
            next.backwards |= agent.before & !agent.holds != 0;
            next.shown |= agent.holds;
            next.agents[who] = Agent::default();
        }
    }

    fn create(&self, next: &mut State, tag: usize) {
        if next.nodes[tag].stamp == 0 && self.rules.has(Rule::MissingIsNotEqual) {
            next.nodes[tag].stamp = if self.rules.has(Rule::RandomStamp) { next.fresh(tag) } else { 1 };
        }
    }

    /// Agents, nonces, and random stamps, by new names.
    pub(super) fn tidy(&self, state: &mut State) {
        let mut is_held = false;
        for agent in state.agents.iter_mut().filter(|agent| agent.nonce != 0) {
            if agent.nonce == state.marker {
                (agent.nonce, is_held) = (LIVE, true);
            } else {
                *agent = Agent::default();
            }
        }
        if state.marker != 0 {
            // A lease that nobody holds.
            state.marker = if is_held { LIVE } else { LIVE + 1 };
        }
        state.agents.sort_unstable();
        if self.rules.has(Rule::RandomStamp) {
            (0..TAGS).for_each(|tag| rename(state, tag));
        }
    }
}

impl State {
    /// A stamp that lies nowhere.
    pub(super) fn fresh(&mut self, tag: usize) -> u8 {
        self.stamps(tag).map(|stamp| *stamp).max().unwrap_or_default() + 1
    }

    fn stamps(&mut self, tag: usize) -> impl Iterator<Item = &mut u8> {
        let saved = self.saved.as_mut().filter(|_| tag == 0).map(|saved| &mut saved.stamp);
        let entry = self.entry.as_mut().map(|entry| &mut entry.stamps[tag]);
        let held = self.agents.iter_mut().map(move |agent| &mut agent.stamps[tag]);
        std::iter::once(&mut self.nodes[tag].stamp).chain(saved).chain(entry).chain(held)
    }
}

fn rename(state: &mut State, tag: usize) {
    let mut names = [0; STAMPS_MAX];
    let mut count = 0;
    for stamp in state.stamps(tag).filter(|stamp| **stamp != 0) {
        let name = &mut names[usize::from(*stamp)];
        if *name == 0 {
            count += 1;
            *name = count;
        }
        *stamp = *name;
    }
}
