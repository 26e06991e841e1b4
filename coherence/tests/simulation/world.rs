//! The world around the engines' cores, and what may happen in it next. One seed decides everything.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use lockstep_coherence::core::event::{Call, LogProgress};
use lockstep_coherence::core::rule::Rule;
use lockstep_schemas::policy::{Policy, TierName};

use super::checks::{Newest, Values};
use super::edge::Edge;
use super::engine::Engine;
use super::mistake::Mistake;
use super::readers::{Next, Reader};
use super::shop::{ENTITIES, Shop};
use super::tiers::TierWorld;

const POLICY: &str = include_str!("policy.toml");
const STEPS: usize = 400;

/// What is left out, if anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Without {
    pub rule: Option<Rule>,
    pub mistake: Option<Mistake>,
}

/// What went wrong, where, and by which seed.
#[derive(Debug)]
pub struct Broken {
    pub seed: u64,
    pub step: usize,
    pub what: String,
}

/// A call that is still on its way.
pub struct Late {
    pub engine: u64,
    /// The engine's life in which it was sent.
    pub life: u64,
    pub tier: TierName,
    pub call: Call,
}

pub struct World {
    pub random: fastrand::Rng,
    pub now: Duration,
    pub shop: Shop,
    /// L2, L1.
    pub tiers: [TierWorld; 2],
    pub edge: Edge,
    pub engines: Vec<Engine>,
    pub readers: Vec<Reader>,
    /// Leases that were used up: tier, entity, nonce.
    pub filled: HashSet<(usize, usize, String)>,
    pub newest: Newest,
    /// What each row has had, as long as nothing is committed.
    pub values: Values,
    /// Calls whose answer nobody waits for any more, and which may still land: of which engine.
    pub late: Vec<Late>,
    /// Engines whose watermarks somebody else has moved.
    pub disturbed: HashSet<u64>,
    /// What was said last.
    progress: Option<LogProgress>,
    pub policy: Policy,
    pub without: Without,
    pub engines_started: u64,
    pub trace: DefaultHasher,
    /// Whether some readers claim.
    pub has_fillers: bool,
    /// Whether the edge is busier than usual.
    pub is_edgy: bool,
}

impl World {
    pub fn open(seed: u64, without: Without) -> Self {
        let policy = Policy::parse(POLICY).expect("the simulation's policy");
        let tiers = [
            TierWorld::new(&policy, TierName::L2, "all", without.mistake),
            TierWorld::new(&policy, TierName::L1, "hot", without.mistake),
        ];
        let mut world = World {
            random: fastrand::Rng::with_seed(seed),
            now: Duration::ZERO,
            shop: Shop::open(),
            tiers,
            edge: Edge::default(),
            engines: Vec::new(),
            readers: Vec::new(),
            filled: HashSet::new(),
            newest: Newest::new(),
            values: Values::default(),
            late: Vec::new(),
            disturbed: HashSet::new(),
            progress: None,
            policy,
            without,
            engines_started: 0,
            trace: DefaultHasher::new(),
            has_fillers: seed % 8 >= 6,
            is_edgy: seed.is_multiple_of(2),
        };
        world.start_engine();
        world
    }

    /// Plays a whole schedule; what it did, as a number, or what broke.
    pub fn play(seed: u64, without: Without) -> Result<u64, Broken> {
        let mut world = World::open(seed, without);
        let broken = |step: usize, what: String| Broken { seed, step, what };
        for step in 0..STEPS {
            world.turn().map_err(|what| broken(step, what))?;
            world.check().map_err(|what| broken(step, what))?;
        }
        world.rest().map_err(|what| broken(STEPS, what))?;
        world.check_at_rest().map_err(|what| broken(STEPS, what))?;
        Ok(world.trace.finish())
    }

    pub fn makes(&self, mistake: Mistake) -> bool {
        self.without.mistake == Some(mistake)
    }

    pub fn start_engine(&mut self) {
        self.engines_started += 1;
        let (number, seed) = (self.engines_started, self.random.u64(..));
        let place = self.tiers[0].place().clone();
        let mut engine = Engine::start(number, &self.policy, &place, self.now, self.without.rule, seed);
        // What was said last stands in the log: after a fail-over that may be of the old epoch.
        if let Some(progress) = self.progress.clone() {
            engine.hear(self.now, progress);
        }
        self.engines.push(engine);
    }

    pub fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.tiers.iter_mut().for_each(|tier| tier.twin.node.pass(ms));
    }

    pub fn one_tier(&mut self) -> &mut TierWorld {
        let at = self.random.usize(..2);
        &mut self.tiers[at]
    }

    pub fn say_progress(&mut self) {
        let (position, next) = self.shop.progress();
        let timeline = self.shop.history.timeline();
        let progress = LogProgress { position, at: position.lsn.0 as i64, next: Some(next), timeline };
        self.progress = Some(progress.clone());
        let now = self.now;
        self.engines.iter_mut().for_each(|engine| engine.hear(now, progress.clone()));
    }

    pub fn any_engine(&mut self, act: impl FnOnce(&mut Engine, Duration)) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            act(&mut self.engines[at], self.now);
        }
    }

    pub fn purge(&mut self) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            self.step_purge(at);
        }
    }

    pub fn take_mine(&mut self) {
        let entity_of = |name: &String| ENTITIES.iter().position(|entity| entity == name).expect("an entity");
        for engine in &mut self.engines {
            for mine in engine.mine.drain(..) {
                for entity in mine.entities.iter().map(entity_of) {
                    let nonce = mine.nonce.clone();
                    let (l1_nonce, next) = match mine.view.tier {
                        TierName::L1 => (Some(nonce), Next::ReadL2),
                        _ => (None, Next::ReadDatabase { nonce, low: mine.low }),
                    };
                    self.readers.push(Reader { entity, l1_nonce, is_misled: false, claims: false, next });
                }
            }
        }
    }

    /// Engines that have ended go; one that leaves the group comes back. Nobody leaves it who was alone.
    pub fn restart_engines(&mut self) -> Result<(), String> {
        for at in (0..self.engines.len()).rev() {
            let engine = &self.engines[at];
            if engine.wants_to_rejoin && !self.disturbed.contains(&engine.number) {
                return Err("an engine took its own call for another owner's".to_owned());
            }
            if engine.has_ended || engine.wants_to_rejoin {
                self.engines.swap_remove(at);
            }
        }
        if self.engines.is_empty() {
            self.start_engine();
        }
        Ok(())
    }
}
