//! The end of a schedule: nothing goes wrong any more, and everybody finishes.

use super::world::World;

/// Steps that a world may need to come to rest.
const STEPS_MAX: usize = 20_000;

impl World {
    /// Nothing goes wrong any more, and everybody finishes.
    pub fn rest(&mut self) -> Result<(), String> {
        self.tiers.iter_mut().for_each(|tier| (tier.is_away, tier.is_moving) = (false, false));
        self.shop.deposed = None;
        while let Some(at) = self.shop.may_be_seen().first() {
            self.shop.history.commits[*at].visible = true;
        }
        while self.shop.publish() {}
        self.engines.truncate(1);
        if let Some(refusing) = self.tiers.iter().position(|tier| tier.refuses) {
            self.finish(|world| world.holds_none_up(refusing))?;
        }
        self.tiers.iter_mut().for_each(|tier| tier.refuses = false);
        self.finish(World::is_at_rest)
    }

    fn finish(&mut self, is_over: impl Fn(&World) -> bool) -> Result<(), String> {
        for _ in 0..STEPS_MAX {
            self.say_progress();
            self.go_on()?;
            if is_over(self) {
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

    /// Everybody takes the next step.
    pub fn go_on(&mut self) -> Result<(), String> {
        self.pass(20);
        self.engines[0].pass(self.now);
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
        for _ in 0..self.engines[0].errands.len() {
            self.serve(0, 0, false)?;
        }
        self.feed_engine(0);
        self.step_purge(0);
        self.restart_engines()?;
        self.check()
    }

    /// Whether the other tier takes no writes either, or has come to the end of the log without this one.
    fn holds_none_up(&self, refusing: usize) -> bool {
        let other = &self.tiers[1 - refusing];
        other.refuses || other.position() >= self.shop.progress().0
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
