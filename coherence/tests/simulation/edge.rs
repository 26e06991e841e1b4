//! The edge: pages stored as the origin answered, purged in rounds.

use std::collections::BTreeSet;

use lockstep_coherence::core::event::Event;
use lockstep_schemas::position::Position;

use super::mistake::Mistake;
use super::shop::{ENTITIES, Value};
use super::world::World;

type Rows = Option<[Value; 2]>;

/// A response on its way.
#[derive(Clone)]
pub struct Fetch {
    number: u64,
    entity: usize,
    /// What the origin read, and up to where that is complete.
    read: Option<(Rows, Position)>,
    /// Whether purges had begun beyond: how far, as the origin polled it.
    begun: Option<Position>,
}

#[derive(Default)]
pub struct Edge {
    pub pages: [Option<Rows>; ENTITIES.len()],
    pub fetches: Vec<Fetch>,
    next: u64,
}

impl World {
    pub fn start_fetch(&mut self) {
        let entity = self.random.usize(..ENTITIES.len());
        if self.edge.pages[entity].is_none() {
            self.edge.next += 1;
            self.edge.fetches.push(Fetch { number: self.edge.next, entity, read: None, begun: None });
        }
    }

    /// The origin reads and polls, in either order; then the response arrives.
    pub fn step_fetch(&mut self, at: usize) {
        let fetch = &self.edge.fetches[at];
        let reads_first = self.random.bool();
        if fetch.read.is_none() && (reads_first || fetch.begun.is_some()) {
            let read = self.origin_reads(fetch.entity);
            self.edge.fetches[at].read = Some(read);
        } else if fetch.begun.is_none() {
            let l2 = &self.tiers[0];
            let mark = l2.twin.watermark(l2.place()).ok().flatten().filter(|_| !l2.is_away);
            self.edge.fetches[at].begun =
                Some(mark.map_or(Position::GREATEST, |mark| mark.l3_begun.unwrap_or_default()));
        } else {
            let fetch = self.edge.fetches.swap_remove(at);
            if let (Some((rows, position)), Some(begun)) = (fetch.read, fetch.begun)
                && position >= begun
            {
                self.edge.pages[fetch.entity] = Some(rows);
            }
        }
    }

    fn origin_reads(&self, entity: usize) -> (Rows, Position) {
        for tier in [&self.tiers[1], &self.tiers[0]] {
            if let Some(shown) = tier.shown(entity).filter(|_| tier.serves_readers()) {
                return (shown.rows, tier.position());
            }
        }
        let l2 = &self.tiers[0];
        // Its mark is read before the database is.
        let position = if l2.serves_readers() { l2.position() } else { Position::LEAST };
        let rows = [0, 1].map(|table| self.shop.history.row(entity, table));
        (rows[0].is_some().then_some(rows), position)
    }

    /// One purge of one engine, first or second round.
    pub fn step_purge(&mut self, engine: usize) {
        let now = self.now;
        let ended =
            |numbers: &BTreeSet<u64>, fetches: &[Fetch]| !fetches.iter().any(|fetch| numbers.contains(&fetch.number));
        let one_round = self.makes(Mistake::OneRound);
        let engine = &mut self.engines[engine];
        if let Some((purged, tags, numbers)) = engine.purges.second.front().cloned()
            && (one_round || ended(&numbers, &self.edge.fetches))
        {
            engine.purges.second.pop_front();
            if !one_round {
                purge(&mut self.edge, &tags);
            }
            return engine.step(now, Event::Purged(engine.life, purged));
        }
        let Some((purged, tags)) = engine.purges.pending.pop_front() else { return };
        if tags.is_empty() {
            match engine.purges.second.back_mut() {
                Some(last) => last.0 = purged,
                None => engine.step(now, Event::Purged(engine.life, purged)),
            }
            return;
        }
        purge(&mut self.edge, &tags);
        let under_way = self.edge.fetches.iter().map(|fetch| fetch.number).collect();
        engine.purges.second.push_back((purged, tags, under_way));
    }
}

fn purge(edge: &mut Edge, tags: &BTreeSet<String>) {
    let all = tags.iter().any(|tag| tag.starts_with("catalogue."));
    for (entity, page) in edge.pages.iter_mut().enumerate() {
        if all || tags.contains(&format!("product:{}", ENTITIES[entity])) {
            *page = None;
        }
    }
}
