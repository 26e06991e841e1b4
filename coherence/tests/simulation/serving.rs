//! Records fed to engines, and their questions answered: at once, late, wrongly, or never.

use lockstep_coherence::core::event::{Call, Event, Look, Trouble};
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Lsn;
use lockstep_source::gate::Verdict;
use lockstep_tiers::Applied;

use super::engine::Errand;
use super::mistake::Mistake;
use super::world::{Late, World};

impl World {
    /// The next record.
    pub fn feed(&mut self) {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            self.feed_engine(at);
        }
    }

    pub fn feed_engine(&mut self, at: usize) {
        let (now, oldest) = (self.now, self.shop.oldest as i64);
        let engine = &mut self.engines[at];
        let Some(next) = engine.at.filter(|_| engine.wants_records()) else { return };
        // The client begins at the oldest record where its place is gone.
        let next = if next > self.shop.log.len() as i64 { oldest } else { next.max(oldest) };
        let Some(record) = self.shop.log.get(next as usize) else {
            // What was at hand has been fed, and the log was cut meanwhile.
            if std::mem::take(&mut engine.is_in_round) {
                engine.step(now, Event::RoundOver);
            }
            return;
        };
        (engine.at, engine.is_in_round) = (Some(next + 1), true);
        engine.step(now, Event::Record(next, record.read()));
        // A round ends with what is at hand, and is over but once: whether the core wants more just then, or not.
        let is_over = next + 1 == self.shop.log.len() as i64 || self.random.u8(..4) == 0;
        let is_told = engine.wants_records() || self.without.mistake != Some(Mistake::RoundsEndUnsaid);
        engine.is_in_round &= !is_over;
        if is_over && is_told {
            engine.step(now, Event::RoundOver);
        }
    }

    pub fn errand(&mut self) -> Result<(), String> {
        if !self.engines.is_empty() {
            let at = self.random.usize(..self.engines.len());
            if !self.engines[at].errands.is_empty() {
                let which = self.random.usize(..self.engines[at].errands.len());
                return self.serve(at, which, true);
            }
        }
        Ok(())
    }

    /// Serves one question, if it can be answered now. With faults, answers get lost and calls come late.
    pub fn serve(&mut self, at: usize, which: usize, faults: bool) -> Result<(), String> {
        let errand = self.engines[at].errands.swap_remove(which);
        let number = self.engines[at].number;
        let away = |tier: TierName, world: &World| world.tiers[usize::from(tier == TierName::L1)].is_away;
        let refuses = |tier: TierName, world: &World| world.tiers[usize::from(tier == TierName::L1)].refuses;
        let moves = |tier: TierName, world: &World| world.tiers[usize::from(tier == TierName::L1)].is_moving;
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
                self.engines[at].errands.push(Errand::Settle(token, Some(look)));
                return Ok(());
            }
            Errand::Settle(token, Some(look)) => {
                if look.epoch != self.shop.history.epoch {
                    Event::Settled(token, Err("another epoch".to_owned()))
                } else if self.shop.is_settled(look.lsn.0) || self.makes(Mistake::Unsettled) {
                    Event::Settled(token, Ok(look))
                } else {
                    self.engines[at].errands.push(Errand::Settle(token, Some(look)));
                    return Ok(());
                }
            }
            Errand::Gate(token, passage) => {
                let verdict = self.shop.judge(&passage);
                let verdict = verdict.or(self.makes(Mistake::NoGate).then_some(Verdict::Visible));
                match verdict {
                    Some(verdict) => Event::Passed(token, verdict, self.shop.history.timeline()),
                    None => {
                        self.engines[at].errands.push(Errand::Gate(token, passage));
                        return Ok(());
                    }
                }
            }
            Errand::Own(token, own) if !self.tiers[0].serves_readers() => {
                drop(own);
                Event::Owned(token, Err(trouble()))
            }
            Errand::Own(token, own) => {
                let l2 = &mut self.tiers[0];
                let place = l2.place().clone();
                Event::Owned(token, Ok(l2.twin.own(&place, own.expect, &own.owner, own.l3)))
            }
            Errand::Apply(token, tier, _) if away(tier, self) || refuses(tier, self) => {
                Event::Answered(token, Err(trouble()))
            }
            Errand::Apply(token, tier, call) if moves(tier, self) => {
                let actions = self.random.usize(..=call.actions.len());
                self.tiers[usize::from(tier == TierName::L1)].apply_in_part(&call, actions);
                Event::Answered(token, Err(Trouble::Moving("its slot is on the move".to_owned())))
            }
            Errand::Apply(token, tier, call) => match self.random.u32(..if faults { 20 } else { 1 }) {
                1 | 2 => {
                    self.land(number, tier, &call);
                    Event::Answered(token, Err(trouble()))
                }
                3 => {
                    let life = self.engines[at].life;
                    self.late.push(Late { engine: number, life, tier, call });
                    Event::Answered(token, Err(trouble()))
                }
                4 => Event::Answered(token, Err(trouble())),
                _ => Event::Answered(token, Ok(self.land(number, tier, &call))),
            },
        };
        let now = self.now;
        self.engines[at].step(now, event);
        match self.engines[at].welcomed.take() {
            Some(tier) if refuses(tier, self) || moves(tier, self) => {
                Err(format!("{} takes no writes, and was said to be back", tier.as_str()))
            }
            _ => Ok(()),
        }
    }

    fn look(&self, lsn: Lsn) -> Look {
        let history = &self.shop.history;
        let (oldest, end) = (self.shop.oldest as i64, self.shop.log.len() as i64);
        Look { oldest, end, epoch: history.epoch, timeline: history.timeline(), lsn, at: 0 }
    }

    /// A call reaches its tier.
    pub fn land(&mut self, engine: u64, tier: TierName, call: &Call) -> Applied {
        let at = usize::from(tier == TierName::L1);
        let applied = self.tiers[at].apply(call);
        if matches!(applied, Applied::Ok { .. }) {
            self.disturbed.extend(self.engines.iter().map(|other| other.number).filter(|other| *other != engine));
        }
        applied
    }
}
