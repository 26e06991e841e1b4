//! The world around the engines' cores, and what may happen in it next. One seed decides everything.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use lockstep_coherence::core::event::{Call, Event, LogProgress, Look, Trouble};
use lockstep_coherence::core::rule::Rule;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::{Lsn, Position};

use super::checks::{Newest, Values};
use super::edge::Edge;
use super::engine::{Engine, Errand};
use super::mistake::Mistake;
use super::readers::{Next, Reader};
use super::shop::{ENTITIES, Event2, Shop};
use super::tiers::TierWorld;

const POLICY: &str = include_str!("policy.toml");
const STEPS: usize = 400;
/// Steps that a world may need to come to rest.
const REST_STEPS_MAX: usize = 20_000;
const ENGINES_MAX: usize = 2;

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
    late: Vec<(u64, TierName, Call)>,
    /// Engines whose watermarks somebody else has moved.
    disturbed: HashSet<u64>,
    progress: Option<LogProgress>,
    policy: Policy,
    without: Without,
    engines_started: u64,
    trace: DefaultHasher,
    /// Whether the edge is busier than usual.
    is_edgy: bool,
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

    fn start_engine(&mut self) {
        self.engines_started += 1;
        let (number, seed) = (self.engines_started, self.random.u64(..));
        let place = self.tiers[0].place().clone();
        self.engines.push(Engine::start(number, &self.policy, &place, self.now, self.without.rule, seed));
    }

    /// One thing happens.
    fn turn(&mut self) -> Result<(), String> {
        let choice = self.random.u32(..1_000);
        choice.hash(&mut self.trace);
        let ms = self.random.u64(..4);
        self.pass(ms);
        match choice {
            0..70 => self.shop.commit(&mut self.random),
            70..170 => self.make_visible(),
            170..250 => drop(self.shop.publish()),
            250..256 => self.shop.publish_again(&mut self.random),
            256..310 => self.say_progress(),
            310..500 => self.errand(),
            500..600 => self.feed(),
            600..640 => self.any_engine(|engine, now| engine.pass(now)),
            640..690 => self.purge(),
            690..860 if self.is_edgy && !choice.is_multiple_of(3) => {
                self.start_fetch();
                if choice % 3 == 2 && !self.edge.fetches.is_empty() {
                    let at = self.random.usize(..self.edge.fetches.len());
                    self.step_fetch(at);
                }
            }
            690..730 => self.start_reader(),
            730..860 if !self.readers.is_empty() => {
                let at = self.random.usize(..self.readers.len());
                self.step_reader(at)?;
            }
            860..880 => self.start_fetch(),
            880..920 if !self.edge.fetches.is_empty() => {
                let at = self.random.usize(..self.edge.fetches.len());
                self.step_fetch(at);
            }
            920..940 => {
                let mut random = self.random.fork();
                self.one_tier().evict(&mut random);
            }
            940..950 => self.take_mine(),
            950..960 => self.late_call(),
            960..1_000 => self.fault(choice - 960),
            _ => {}
        }
        if std::env::var_os("LOCKSTEP_SIMULATION_TRACE").is_some() {
            self.print(choice);
        }
        self.tiers[0].position().hash(&mut self.trace);
        self.tiers[1].position().hash(&mut self.trace);
        self.restart_engines()
    }

    /// For whoever looks into a schedule.
    fn print(&self, choice: u32) {
        let mark = |tier: &TierWorld| tier.twin.watermark(tier.place()).ok().flatten();
        let (l2, l1) = (mark(&self.tiers[0]), mark(&self.tiers[1]));
        let at = |position: Option<Position>| position.map(|p| format!("{}-{}.{}", p.epoch, p.lsn.0, p.ordinal));
        println!(
            "{choice}: l2 {:?} l1 {:?} begun {:?} l3 {:?} log {} pages {:?} engines {:?}",
            at(l2.as_ref().map(|mark| mark.position)),
            at(l1.map(|mark| mark.position)),
            at(l2.as_ref().and_then(|mark| mark.l3_begun)),
            at(l2.and_then(|mark| mark.l3).map(|l3| l3.0)),
            self.shop.log.len(),
            self.edge.pages,
            self.engines.iter().map(|engine| (engine.number, engine.life, engine.at)).collect::<Vec<_>>(),
        );
    }

    fn fault(&mut self, which: u32) {
        match which {
            0..6 => {
                let tier = self.one_tier();
                tier.copy = Some(tier.twin.node.clone());
            }
            6..10 => self.fail_over_a_tier(),
            10..14 => {
                let tier = self.one_tier();
                tier.is_away = !tier.is_away;
            }
            14..17 if self.engines.len() < ENGINES_MAX => self.start_engine(),
            17..20 => self.crash(),
            20..22 => self.any_engine(|engine, now| engine.step(now, Event::Stop)),
            22..24 => {
                self.shop.fail_over(&mut self.random);
                self.newest.clear();
                self.progress = None;
            }
            24 => self.shop.oldest = self.shop.log.len().saturating_sub(self.random.usize(..4)).max(self.shop.oldest),
            25 => self.shop.log.push(Event2::Rubbish),
            26..32 => self.pass(3_000),
            _ => {}
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.tiers.iter_mut().for_each(|tier| tier.twin.node.pass(ms));
    }

    fn one_tier(&mut self) -> &mut TierWorld {
        let at = self.random.usize(..2);
        &mut self.tiers[at]
    }

    fn make_visible(&mut self) {
        let seen = self.shop.may_be_seen();
        if !seen.is_empty() {
            let at = seen[self.random.usize(..seen.len())];
            self.shop.history.commits[at].visible = true;
        }
    }

    fn fail_over_a_tier(&mut self) {
        let at = self.random.usize(..2);
        if self.tiers[at].fail_over() {
            // What that tier, and the one that is filled from it, had shown may return.
            self.newest.retain(|(tier, _, _), _| *tier < at);
            self.filled.retain(|(tier, _, _)| *tier != at);
        }
    }

    /// An engine dies. What it had sent may still land.
    fn crash(&mut self) {
        if self.engines.is_empty() {
            return;
        }
        let at = self.random.usize(..self.engines.len());
        let engine = self.engines.swap_remove(at);
        for errand in engine.errands {
            if let Errand::Apply(_, tier, call) = errand {
                self.late.push((engine.number, tier, call));
            }
        }
    }

    fn late_call(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let at = self.random.usize(..self.late.len());
        let (engine, tier, call) = self.late.swap_remove(at);
        self.land(engine, tier, &call);
    }

    /// A call reaches its tier.
    fn land(&mut self, engine: u64, tier: TierName, call: &Call) -> lockstep_tiers::Applied {
        let at = usize::from(tier == TierName::L1);
        let applied = self.tiers[at].apply(call);
        if matches!(applied, lockstep_tiers::Applied::Ok { .. }) {
            self.disturbed.extend(self.engines.iter().map(|other| other.number).filter(|other| *other != engine));
        }
        applied
    }

    fn say_progress(&mut self) {
        let (position, next) = self.shop.progress();
        let timeline = self.shop.history.timeline();
        let progress = LogProgress { position, at: position.lsn.0 as i64, next: Some(next), timeline };
        self.progress = Some(progress.clone());
        let now = self.now;
        self.engines.iter_mut().for_each(|engine| engine.hear(now, progress.clone()));
    }

    fn any_engine(&mut self, act: impl FnOnce(&mut Engine, Duration)) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            act(&mut self.engines[at], self.now);
        }
    }

    fn purge(&mut self) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            self.step_purge(at);
        }
    }

    fn take_mine(&mut self) {
        let entity_of = |name: &String| ENTITIES.iter().position(|entity| entity == name).expect("an entity");
        for engine in &mut self.engines {
            for mine in engine.mine.drain(..) {
                for entity in mine.entities.iter().map(entity_of) {
                    let nonce = mine.nonce.clone();
                    let (l1_nonce, next) = match mine.view.tier {
                        TierName::L1 => (Some(nonce), Next::ReadL2),
                        _ => (None, Next::ReadDatabase { nonce, low: mine.low }),
                    };
                    self.readers.push(Reader { entity, l1_nonce, is_misled: false, next });
                }
            }
        }
    }

    /// The next record, or the end of what is at hand.
    fn feed(&mut self) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            self.feed_engine(at);
        }
    }

    fn feed_engine(&mut self, at: usize) {
        let (now, oldest) = (self.now, self.shop.oldest as i64);
        let engine = &mut self.engines[at];
        let Some(next) = engine.at.filter(|_| engine.wants_records()) else { return };
        // The client begins at the oldest record where its place is gone.
        let next = if next > self.shop.log.len() as i64 { oldest } else { next.max(oldest) };
        match self.shop.log.get(next as usize) {
            Some(record) => {
                engine.at = Some(next + 1);
                engine.step(now, Event::Record(next, record.read()));
            }
            None => engine.step(now, Event::RoundOver),
        }
    }

    fn errand(&mut self) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            if !self.engines[at].errands.is_empty() {
                let which = self.random.usize(..self.engines[at].errands.len());
                self.serve(at, which, true);
            }
        }
    }

    /// Serves one question, if it can be answered now. With faults, answers get lost and calls come late.
    fn serve(&mut self, at: usize, which: usize, faults: bool) {
        let errand = self.engines[at].errands.swap_remove(which);
        let number = self.engines[at].number;
        let away = |tier: TierName, world: &World| world.tiers[usize::from(tier == TierName::L1)].is_away;
        let trouble = || Trouble::Away("no answer".to_owned());
        let event = match errand {
            Errand::Look(token) => Event::Looked(token, Ok(self.look(Lsn(0)))),
            Errand::Find(token, tier) if away(tier, self) => Event::Found(token, Err(trouble())),
            Errand::Find(token, tier) => {
                let tier = &self.tiers[usize::from(tier == TierName::L1)];
                Event::Found(token, Ok(tier.twin.watermark(tier.place()).expect("a watermark")))
            }
            Errand::Settle(token, None) => {
                let look = self.look(Lsn(self.shop.history.insert_lsn));
                return self.engines[at].errands.push(Errand::Settle(token, Some(look)));
            }
            Errand::Settle(token, Some(look)) => {
                if look.epoch != self.shop.history.epoch {
                    Event::Settled(token, Err("another epoch".to_owned()))
                } else if self.shop.is_settled(look.lsn.0) || self.makes(Mistake::Unsettled) {
                    Event::Settled(token, Ok(look))
                } else {
                    return self.engines[at].errands.push(Errand::Settle(token, Some(look)));
                }
            }
            Errand::Gate(token, passage) => {
                let verdict = self.shop.judge(&passage);
                let verdict =
                    verdict.or(self.makes(Mistake::NoGate).then_some(lockstep_source::gate::Verdict::Visible));
                match verdict {
                    Some(verdict) => Event::Passed(token, verdict, self.shop.history.timeline()),
                    None => return self.engines[at].errands.push(Errand::Gate(token, passage)),
                }
            }
            Errand::Own(token, own) if away(TierName::L2, self) => {
                drop(own);
                Event::Owned(token, Err(trouble()))
            }
            Errand::Own(token, own) => {
                let l2 = &mut self.tiers[0];
                let place = l2.place().clone();
                Event::Owned(token, Ok(l2.twin.own(&place, own.expect, &own.owner, own.l3)))
            }
            Errand::Apply(token, tier, _) if away(tier, self) => Event::Answered(token, Err(trouble())),
            Errand::Apply(token, tier, call) => match self.random.u32(..if faults { 20 } else { 1 }) {
                1 | 2 => {
                    self.land(number, tier, &call);
                    Event::Answered(token, Err(trouble()))
                }
                3 => {
                    self.late.push((number, tier, call));
                    Event::Answered(token, Err(trouble()))
                }
                4 => Event::Answered(token, Err(trouble())),
                _ => Event::Answered(token, Ok(self.land(number, tier, &call))),
            },
        };
        let now = self.now;
        self.engines[at].step(now, event);
    }

    fn look(&self, lsn: Lsn) -> Look {
        let history = &self.shop.history;
        let (oldest, end) = (self.shop.oldest as i64, self.shop.log.len() as i64);
        Look { oldest, end, epoch: history.epoch, timeline: history.timeline(), lsn, at: 0 }
    }

    /// Engines that have ended go; one that leaves the group comes back. Nobody leaves it who was alone.
    fn restart_engines(&mut self) -> Result<(), String> {
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

    /// Nothing goes wrong any more, and everybody finishes.
    fn rest(&mut self) -> Result<(), String> {
        self.tiers.iter_mut().for_each(|tier| tier.is_away = false);
        self.shop.deposed = None;
        while let Some(at) = self.shop.may_be_seen().first() {
            self.shop.history.commits[*at].visible = true;
        }
        while self.shop.publish() {}
        self.engines.truncate(1);
        for _ in 0..REST_STEPS_MAX {
            self.pass(20);
            while !self.late.is_empty() {
                self.late_call();
            }
            self.take_mine();
            for at in (0..self.readers.len()).rev() {
                self.step_reader(at)?;
            }
            for at in (0..self.edge.fetches.len()).rev() {
                self.step_fetch(at);
            }
            self.say_progress();
            for _ in 0..self.engines[0].errands.len() {
                self.serve(0, 0, false);
            }
            self.feed_engine(0);
            self.step_purge(0);
            self.restart_engines()?;
            self.check()?;
            if self.is_at_rest() {
                return Ok(());
            }
        }
        let engine = &self.engines[0];
        let (at, log, wants) = (engine.at, self.shop.log.len(), engine.wants_records());
        let (errands, oldest) = (engine.errands.len(), self.shop.oldest);
        Err(format!(
            "it does not come to rest: at {at:?} of {oldest}..{log}, wants records {wants}, {errands} errands, readers {}, fetches {}",
            self.readers.len(),
            self.edge.fetches.len()
        ))
    }

    fn is_at_rest(&self) -> bool {
        let (end, _): (Position, i64) = self.shop.progress();
        let purges = &self.engines[0].purges;
        self.engines[0].attached() == self.tiers.len()
            && self.tiers.iter().all(|tier| tier.position() >= end)
            && purges.pending.is_empty()
            && purges.second.is_empty()
            && self.readers.is_empty()
            && self.edge.fetches.is_empty()
            && self.engines[0].at == Some(self.shop.log.len() as i64)
    }
}
