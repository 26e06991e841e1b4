//! What may happen next: one thing a turn, faults among them.

use std::hash::Hash as _;

use lockstep_coherence::core::event::Event;
use lockstep_schemas::position::Position;
use lockstep_tiers::Applied;

use super::engine::Errand;
use super::shop::Logged;
use super::tiers::TierWorld;
use super::world::{Late, World};

/// Engines that may run at once.
const ENGINES_MAX: usize = 2;

impl World {
    /// One thing happens.
    pub fn turn(&mut self) -> Result<(), String> {
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
            310..500 => self.errand()?,
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
            }
            24 => self.shop.oldest = self.shop.log.len().saturating_sub(self.random.usize(..4)).max(self.shop.oldest),
            25 => self.shop.log.push(Logged::Rubbish),
            26..32 => self.pass(3_000),
            // They would leave little time to the edge.
            32..36 if !self.is_edgy => {
                let tier = self.one_tier();
                tier.refuses = !tier.refuses;
            }
            36..40 if !self.is_edgy => {
                let tier = self.one_tier();
                tier.is_moving = !tier.is_moving;
            }
            _ => {}
        }
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
                self.late.push(Late { engine: engine.number, life: engine.life, tier, call });
            }
        }
    }

    pub fn late_call(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let at = self.random.usize(..self.late.len());
        let Late { engine, life, tier, call } = self.late.swap_remove(at);
        let landed = matches!(self.land(engine, tier, &call), Applied::Ok { .. });
        // A fail-over made room for what an earlier life had sent: who then takes it for another's does no harm.
        if landed && self.engines.iter().any(|other| other.number == engine && other.life != life) {
            self.disturbed.insert(engine);
        }
    }
}
