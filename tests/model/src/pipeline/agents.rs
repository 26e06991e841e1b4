//! Who fills: readers, and the engine for the leases that it voided. Lease, then read, then fill.

use super::tidy::FRESH;
use super::{Pipeline, READERS_MAX, State, Step, spend};
use crate::rules::Rule;
use crate::tier::{Fill, GREATEST};

/// The database of these models has one timeline.
const TIMELINE: u8 = 0;

/// A party that may fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Agent {
    #[default]
    Idle,
    /// It holds a lease. `pos`: the watermark that came with it. `log`: the log's end then, where that matters.
    Leased { tier: u8, nonce: u8, pos: u8, log: u8 },
    /// It has read.
    Read { tier: u8, fill: Fill },
}

impl Agent {
    pub(super) fn nonce(&self) -> Option<(u8, u8)> {
        match self {
            Agent::Idle => None,
            Agent::Leased { tier, nonce, .. } => Some((*tier, *nonce)),
            Agent::Read { tier, fill } => Some((*tier, fill.nonce)),
        }
    }

    pub(super) fn nonce_mut(&mut self) -> Option<&mut u8> {
        match self {
            Agent::Idle => None,
            Agent::Leased { nonce, .. } => Some(nonce),
            Agent::Read { fill, .. } => Some(&mut fill.nonce),
        }
    }
}

impl Pipeline {
    pub(super) fn steps_of_agents(&self, state: &State, steps: &mut Vec<Step>) {
        let readers = &state.agents[..READERS_MAX];
        let busy = readers.iter().filter(|reader| **reader != Agent::Idle).count();
        if let Some(reader) = readers.iter().position(|reader| *reader == Agent::Idle).filter(|_| busy < self.readers) {
            let is_free = |tier: &u8| state.nodes[usize::from(*tier)].lease(FRESH).is_some();
            let tiers = (0..self.tiers as u8).filter(is_free);
            steps.extend(tiers.map(|tier| Step::Lease { reader: reader as u8, tier }));
        }
        for (who, agent) in (0_u8..).zip(state.agents) {
            match agent {
                Agent::Idle => {}
                Agent::Leased { tier, .. } => self.steps_of_leased(state, who, tier, steps),
                Agent::Read { .. } => steps.push(Step::Fill(who)),
            }
        }
        if state.again.is_some() {
            steps.push(Step::FillAgain);
        }
    }

    fn steps_of_leased(&self, state: &State, who: u8, tier: u8, steps: &mut Vec<Step>) {
        if tier == 1 && !self.rules.has(Rule::OnlyThroughL2) {
            steps.push(Step::ReadPast(who));
        }
        let readable = tier == 0 || state.nodes[0].living().is_some();
        steps.push(if readable { Step::Read(who) } else { Step::GiveUp(who) });
    }

    pub(super) fn agent_steps(&self, next: &mut State, step: Step) {
        match step {
            Step::Lease { reader, tier } => self.lease(next, reader, tier),
            Step::Read(who) => self.read(next, who, false),
            Step::ReadPast(who) => self.read(next, who, true),
            Step::Fill(who) => {
                let agent = std::mem::take(&mut next.agents[usize::from(who)]);
                let Agent::Read { tier, fill } = agent else { return };
                if next.left.fills_twice > 0 && next.again.is_none() {
                    spend(&mut next.left.fills_twice);
                    next.again = Some((tier, fill));
                }
                next.nodes[usize::from(tier)].fill(fill, self.rules);
            }
            Step::FillAgain => {
                let Some((tier, fill)) = next.again.take() else { return };
                next.nodes[usize::from(tier)].fill(fill, self.rules);
            }
            Step::GiveUp(who) => next.agents[usize::from(who)] = Agent::Idle,
            _ => {}
        }
    }

    fn lease(&self, next: &mut State, reader: u8, tier: u8) {
        let node = &mut next.nodes[usize::from(tier)];
        let nonce = if self.rules.has(Rule::RandomNonce) { FRESH } else { node.pos + 1 };
        let log = if self.rules.has(Rule::HighFromStatement) { 0 } else { next.log };
        let pos = node.pos;
        if let Some(leased) = node.lease(nonce) {
            *node = leased;
            next.agents[usize::from(reader)] = Agent::Leased { tier, nonce, pos, log };
        }
    }

    fn read(&self, next: &mut State, who: u8, is_past_l2: bool) {
        let Agent::Leased { tier, nonce, pos, log } = next.agents[usize::from(who)] else { return };
        let fill = if tier == 0 || is_past_l2 {
            self.read_database(next, nonce, pos, log)
        } else {
            let (below, Some(entry)) = (next.nodes[0], next.nodes[0].living()) else { return };
            let low = entry.low.max(below.pos);
            Fill { nonce, values: entry.values, low, high: entry.high, source_at: below.pos, timeline: TIMELINE }
        };
        next.agents[usize::from(who)] = Agent::Read { tier, fill };
    }

    fn read_database(&self, state: &State, nonce: u8, pos: u8, log: u8) -> Fill {
        let low = if self.rules.has(Rule::LowFromLease) { pos } else { state.log };
        let high = if self.rules.has(Rule::HighFromStatement) { state.log } else { log };
        Fill { nonce, values: self.history.contents(state.visible), low, high, source_at: GREATEST, timeline: TIMELINE }
    }

    /// How many hold the lease that lies on a tier.
    pub(super) fn holders(&self, state: &State, tier: usize) -> usize {
        let Some(marker) = state.nodes[tier].marker else { return 0 };
        let held = (tier as u8, marker.nonce);
        state.agents.iter().filter(|agent| agent.nonce() == Some(held)).count()
    }
}
