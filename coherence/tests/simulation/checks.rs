//! The promises (docs/protocol.md, section 1), looked at after each step.

use std::collections::HashMap;

use lockstep_schemas::position::Position;

use super::shop::{ENTITIES, Value};
use super::tiers::{Shown, TierWorld};
use super::world::World;

/// Of each row of each tier, the newest state that was shown: its place among the row's values.
pub type Newest = HashMap<(usize, usize, usize), usize>;

/// Every value of each row, of one state of the history.
#[derive(Default)]
pub struct Values {
    of: (u16, usize),
    rows: [[Vec<(Position, Value)>; 2]; ENTITIES.len()],
}

impl World {
    pub fn check(&mut self) -> Result<(), String> {
        let of = (self.shop.history.epoch, self.shop.history.commits.len());
        if self.values.of != of {
            let rows = std::array::from_fn(|entity| [0, 1].map(|table| self.shop.history.values(entity, table)));
            self.values = Values { of, rows };
        }
        for at in 0..self.tiers.len() {
            self.watermark_is_visible(at)?;
            for (entity, called) in ENTITIES.iter().enumerate() {
                if let Some(shown) = self.tiers[at].shown(entity) {
                    if self.tiers[at].has_marker(entity) {
                        return Err(format!("(m) {called} of {} has a marker", name(&self.tiers[at])));
                    }
                    self.entry_keeps_promises(at, entity, &shown)?;
                }
            }
        }
        Ok(())
    }

    fn watermark_is_visible(&self, at: usize) -> Result<(), String> {
        let (tier, history) = (&self.tiers[at], &self.shop.history);
        let position = tier.position();
        let hidden = history.commits.iter().filter(|commit| !commit.visible);
        let passed = hidden.map(|commit| history.position(commit, 1)).find(|hidden| *hidden <= position);
        match passed.filter(|_| position.epoch == history.epoch) {
            Some(hidden) => Err(format!("(w) {} is at {position}, past {hidden}, which nobody sees", name(tier))),
            None => Ok(()),
        }
    }

    fn entry_keeps_promises(&mut self, at: usize, entity: usize, shown: &Shown) -> Result<(), String> {
        let position = self.tiers[at].position();
        let holds = shown.low.max(position);
        // Until the new epoch has reached the tier, what the old one left there is its own matter.
        if holds.epoch != self.shop.history.epoch {
            return Ok(());
        }
        let what = format!("{} of {}", ENTITIES[entity], name(&self.tiers[at]));
        match shown.rows {
            None => self.row_keeps_promises(at, (entity, 0), None, holds, &what),
            Some([None, _]) => Err(format!("(c) {what} has lost a column")),
            Some(rows) => {
                (0..2).try_for_each(|table| self.row_keeps_promises(at, (entity, table), rows[table], holds, &what))
            }
        }
    }

    fn row_keeps_promises(
        &mut self,
        at: usize,
        (entity, table): (usize, usize),
        value: Value,
        holds: Position,
        what: &str,
    ) -> Result<(), String> {
        let values = &self.values.rows[entity][table];
        let last = values.iter().rposition(|(position, _)| *position <= holds).unwrap_or(0);
        let from = |first: usize| (first..values.len()).find(|k| values[*k].1 == value);
        if from(last).is_none() {
            let due = values[last];
            return Err(format!(
                "(w) {what}, column {table}, is {value:?}; up to {holds} it is {:?} ({})",
                due.1, due.0
            ));
        }
        let newest = self.newest.entry((at, entity, table)).or_insert(0);
        match from(*newest) {
            Some(k) => {
                *newest = k;
                Ok(())
            }
            None => Err(format!("(b) {what}, column {table}, goes back to {value:?} from {:?}", values[*newest].1)),
        }
    }

    /// At rest, every entry and every page equals the database.
    pub fn check_at_rest(&self) -> Result<(), String> {
        for (entity, entity_name) in ENTITIES.iter().enumerate() {
            let rows = [0, 1].map(|table| self.shop.history.row(entity, table));
            let expected = rows[0].is_some().then_some(rows);
            for tier in &self.tiers {
                if let Some(shown) = tier.shown(entity).filter(|shown| shown.rows != expected) {
                    let what = format!("{entity_name} of {}", name(tier));
                    return Err(format!("(a) {what} is {:?}, the database has {expected:?}", shown.rows));
                }
            }
            if let Some(page) = self.edge.pages[entity].filter(|page| *page != expected) {
                return Err(format!("(a) the page of {entity_name} is {page:?}, the database has {expected:?}"));
            }
        }
        Ok(())
    }
}

fn name(tier: &TierWorld) -> &'static str {
    tier.name.as_str()
}
