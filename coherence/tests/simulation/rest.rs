//! The end of a schedule: nothing goes wrong any more, and everybody finishes.

use super::world::World;

/// Steps that a world may need to come to rest.
const STEPS_MAX: usize = 20_000;

impl World {
    /// Nothing goes wrong any more, and everybody finishes.
    pub fn rest(&mut self) -> Result<(), String> {
        self.tiers.iter_mut().for_each(|tier| tier.is_away = false);
        self.shop.deposed = None;
        while let Some(at) = self.shop.may_be_seen().first() {
            self.shop.history.commits[*at].visible = true;
        }
        while self.shop.publish() {}
        self.engines.truncate(1);
        for _ in 0..STEPS_MAX {
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
        let (end, _) = self.shop.progress();
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
