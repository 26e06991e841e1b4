//! An engine: a real core, and what it has asked for, carried out whenever the schedule wants, or never.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lockstep_coherence::Planner;
use lockstep_coherence::core::event::{Call, Command, Event, LogProgress, Look, Mine, Notice, Own, Purged, Token};
use lockstep_coherence::core::rule::Rule;
use lockstep_coherence::core::{Core, Setup};
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_source::gate::Passage;
use lockstep_tiers::Place;

/// A question under way.
pub enum Errand {
    Look(Token),
    Find(Token, TierName),
    /// What was read before the wish, once it has begun.
    Settle(Token, Option<Look>),
    Apply(Token, TierName, Call),
    Own(Token, Own),
    Gate(Token, Passage),
}

/// Purges of one life.
#[derive(Default)]
pub struct PurgeQueue {
    pub pending: VecDeque<(Purged, BTreeSet<String>)>,
    /// Purged once; due again when every fetch of that time has ended.
    pub second: VecDeque<(Purged, BTreeSet<String>, BTreeSet<u64>)>,
}

pub struct Engine {
    pub number: u64,
    core: Core,
    born: Duration,
    pub errands: Vec<Errand>,
    /// The next offset that it reads, once it may.
    pub at: Option<i64>,
    /// It was fed records, and not told yet that there are no more at hand.
    pub is_in_round: bool,
    pub life: u64,
    pub purges: PurgeQueue,
    pub mine: Vec<Mine>,
    pub has_ended: bool,
    pub wants_to_rejoin: bool,
    /// A detached tier that it took for one that is back.
    pub welcomed: Option<TierName>,
    /// It has just found that a tier forgot.
    doubts: bool,
}

impl Engine {
    pub fn start(number: u64, policy: &Policy, place: &Place, now: Duration, without: Option<Rule>, seed: u64) -> Self {
        let mut setup = Setup::new(place.clone(), policy, Arc::new(Planner::new(policy)), seed);
        setup.without = without;
        let (core, commands) = Core::begin(setup);
        let mut engine = Engine {
            number,
            core,
            born: now,
            errands: Vec::new(),
            at: None,
            is_in_round: false,
            life: 0,
            purges: PurgeQueue::default(),
            mine: Vec::new(),
            has_ended: false,
            wants_to_rejoin: false,
            welcomed: None,
            doubts: false,
        };
        engine.carry_out(commands);
        engine
    }

    pub fn step(&mut self, now: Duration, event: Event) {
        let time = self.core.step(Event::Time(now.saturating_sub(self.born)));
        self.carry_out(time);
        let commands = self.core.step(event);
        self.carry_out(commands);
        // Every lane of an engine hears of it, also the one that found it out.
        if std::mem::take(&mut self.doubts) {
            let commands = self.core.step(Event::Doubted);
            self.carry_out(commands);
        }
    }

    pub fn pass(&mut self, now: Duration) {
        let commands = self.core.step(Event::Time(now.saturating_sub(self.born)));
        self.carry_out(commands);
    }

    /// Tiers that it has attached.
    pub fn attached(&self) -> usize {
        self.core.applied().len()
    }

    pub fn wants_records(&self) -> bool {
        self.core.wants_records()
    }

    pub fn hear(&mut self, now: Duration, progress: LogProgress) {
        self.step(now, Event::Progress(progress));
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            if std::env::var_os("LOCKSTEP_SIMULATION_TRACE").is_some() && !matches!(command, Command::Gate(..)) {
                println!("engine {}: {command:?}", self.number);
            }
            match command {
                Command::Look(token) => self.errands.push(Errand::Look(token)),
                Command::Find(token, tier) => self.errands.push(Errand::Find(token, tier)),
                Command::Settle(token) => self.errands.push(Errand::Settle(token, None)),
                Command::Apply(token, tier, call) => self.errands.push(Errand::Apply(token, tier, call)),
                Command::Own(token, own) => self.errands.push(Errand::Own(token, own)),
                Command::Gate(token, passage) => self.errands.push(Errand::Gate(token, passage)),
                Command::Read { from, life } => {
                    (self.at, self.life, self.purges) = (Some(from), life, PurgeQueue::default());
                    self.is_in_round = false;
                }
                Command::Purge(purged, tags) => self.purges.pending.push_back((purged, tags)),
                Command::Refill(mine) => self.mine.push(mine),
                Command::Say(Notice::Back(tier)) => self.welcomed = Some(tier),
                Command::Say(Notice::Forgot(..)) => self.doubts = true,
                Command::Say(_) => {}
                Command::Rejoin => self.wants_to_rejoin = true,
                Command::End => self.has_ended = true,
            }
        }
    }
}
