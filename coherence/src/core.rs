//! A lane's core: every decision of one partition's flow into the tiers, without a clock, a socket or a task.
//!
//! One event in, commands out (`event.rs`). The core opens from the watermarks that it finds on the tiers
//! (`opening.rs`), folds records to jobs (`flow.rs`) and takes them to each tier from the inside out (`side.rs`). The
//! shell (`lane.rs`) carries commands out; a simulation drives the same code under one seed.

pub mod event;
mod flow;
mod job;
mod opening;
pub mod rule;
mod side;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Layout, Place};

use crate::plan::Planner;
use event::{Command, Event, LogProgress, Notice, Token};
use flow::Flow;
use opening::Opening;
use rule::Rule;

/// The first pause before something is tried again; each is twice the last.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Calls without an answer that a tier's memory keeps; more than ever are under way.
const UNSEEN_MAX: usize = 64;

/// What a lane is about.
pub struct Setup {
    /// Its partition.
    pub place: Place,
    /// The tiers in Redis that its group reaches, from the inside out.
    pub tiers: Vec<TierName>,
    /// Whether the group has views at the edge.
    pub has_edge: bool,
    /// What changes do.
    pub planner: Arc<Planner>,
    /// Seed of nonces.
    pub seed: u64,
    /// A rule that is not obeyed: `None` but in a simulation of mistakes.
    pub without: Option<Rule>,
}

impl Setup {
    /// The lane of a place, under a policy.
    pub fn new(place: Place, policy: &Policy, planner: Arc<Planner>, seed: u64) -> Self {
        let reached = policy.tiers_of(&place.group);
        let has_edge = reached.contains(&TierName::L3);
        let tiers = reached.into_iter().filter(|tier| *tier != TierName::L3).collect();
        Setup { place, tiers, has_edge, planner, seed, without: None }
    }

    fn partition_tag(&self) -> String {
        Layout::partition_tag(&self.place)
    }
}

/// What is known of a tier beyond one life of the lane.
#[derive(Default)]
struct Memory {
    /// Where calls would have moved its watermark whose answers were never seen.
    unseen: BTreeSet<Position>,
    /// How often it was detached since it last took a change.
    detached: u32,
}

enum Phase {
    /// Begins after a pause.
    Pausing {
        until: Duration,
    },
    Opening(Box<Opening>),
    Flowing(Box<Flow>),
    /// Waits to be stopped.
    Leaving,
    Ended,
}

/// What every phase uses.
struct Means {
    setup: Setup,
    now: Duration,
    tokens: Token,
    random: fastrand::Rng,
    memory: BTreeMap<TierName, Memory>,
    /// The newest that was heard, in whatever phase: while ingest is silent there is no other.
    progress: Option<LogProgress>,
    commands: Vec<Command>,
}

impl Means {
    fn nonce(&mut self) -> String {
        format!("{:032x}", self.random.u128(..))
    }

    fn ask(&mut self, command: impl FnOnce(Token) -> Command) -> Token {
        self.tokens += 1;
        self.commands.push(command(self.tokens));
        self.tokens
    }

    fn obeys(&self, rule: Rule) -> bool {
        self.setup.without != Some(rule)
    }

    fn say(&mut self, notice: Notice) {
        self.commands.push(Command::Say(notice));
    }

    fn memory(&mut self, tier: TierName) -> &mut Memory {
        self.memory.entry(tier).or_default()
    }
}

/// What ends a life of the lane.
enum Turn {
    /// Begin again from the watermarks.
    Back,
    /// A record can't be read, or records are gone: begin again behind them, with every tier raised.
    Skip { next_offset: i64 },
    /// Another engine owns the partition.
    Rejoin,
}

/// A lane's core.
pub struct Core {
    means: Means,
    phase: Phase,
    life: u64,
    /// Attempts to begin that failed in a row.
    failures: u32,
    /// Everything of the log before that offset can't be used.
    lost_from: Option<i64>,
    stopping: bool,
}

impl Core {
    /// A lane that has yet to begin, with its first commands.
    pub fn begin(setup: Setup) -> (Self, Vec<Command>) {
        let random = fastrand::Rng::with_seed(setup.seed);
        let means = Means {
            setup,
            now: Duration::ZERO,
            tokens: 0,
            random,
            memory: BTreeMap::new(),
            progress: None,
            commands: Vec::new(),
        };
        let mut core = Core { means, phase: Phase::Leaving, life: 0, failures: 0, lost_from: None, stopping: false };
        core.open();
        let commands = std::mem::take(&mut core.means.commands);
        (core, commands)
    }

    /// Takes an event in.
    pub fn step(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Stop => self.stopping = true,
            Event::Time(now) => self.means.now = self.means.now.max(now),
            Event::Progress(progress) => self.means.progress = Some(progress),
            event => self.hear(event),
        }
        self.advance();
        std::mem::take(&mut self.means.commands)
    }

    /// Plans what comes from now on by another planner: it has other versions of a view.
    pub fn plan_by(&mut self, planner: Arc<Planner>) {
        self.means.setup.planner = planner;
    }

    /// Whether it can take records in. What waits is bounded: a lane that is held takes none.
    pub fn wants_records(&self) -> bool {
        matches!(&self.phase, Phase::Flowing(flow) if flow.has_room()) && !self.stopping
    }

    /// When it wants to hear of the time, at the latest.
    pub fn wake_at(&self) -> Duration {
        match &self.phase {
            _ if self.stopping => Duration::MAX,
            Phase::Pausing { until } => *until,
            Phase::Flowing(flow) => flow.wake_at(&self.means),
            Phase::Opening(_) | Phase::Leaving | Phase::Ended => Duration::MAX,
        }
    }

    /// How far each attached tier has come: for observers.
    pub fn applied(&self) -> Vec<(TierName, Position)> {
        match &self.phase {
            Phase::Flowing(flow) => flow.applied(),
            _ => Vec::new(),
        }
    }

    fn open(&mut self) {
        self.phase = Phase::Opening(Box::new(Opening::begin(&mut self.means, self.lost_from.take())));
    }

    fn hear(&mut self, event: Event) {
        match &mut self.phase {
            Phase::Opening(opening) => match opening.hear(&mut self.means, event) {
                opening::Outcome::Open => {}
                opening::Outcome::Done(opened) => {
                    (self.life, self.failures) = (self.life + 1, 0);
                    self.phase = Phase::Flowing(Box::new(Flow::begin(&mut self.means, opened, self.life)));
                }
                opening::Outcome::Failed { why, lost_from } => self.pause(why, lost_from),
            },
            Phase::Flowing(flow) => {
                if let Err(turn) = flow.hear(&mut self.means, event) {
                    self.turn(turn);
                }
            }
            Phase::Pausing { .. } | Phase::Leaving | Phase::Ended => {}
        }
    }

    fn advance(&mut self) {
        if self.stopping {
            let is_calling = matches!(&self.phase, Phase::Flowing(flow) if flow.is_calling());
            if !is_calling && !matches!(self.phase, Phase::Ended) {
                self.phase = Phase::Ended;
                self.means.commands.push(Command::End);
            }
            return;
        }
        match &mut self.phase {
            Phase::Pausing { until } if self.means.now >= *until => self.open(),
            Phase::Flowing(flow) => {
                if let Err(turn) = flow.advance(&mut self.means) {
                    self.turn(turn);
                }
            }
            _ => {}
        }
    }

    fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::Back => self.open(),
            Turn::Skip { next_offset } => {
                self.lost_from = Some(next_offset);
                self.open();
            }
            Turn::Rejoin => {
                self.phase = Phase::Leaving;
                self.means.commands.push(Command::Rejoin);
            }
        }
    }

    fn pause(&mut self, why: String, lost_from: Option<i64>) {
        self.means.say(Notice::CannotBegin(why));
        self.lost_from = lost_from;
        self.phase = Phase::Pausing { until: self.means.now + pause(self.failures) };
        self.failures += 1;
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX)
}
