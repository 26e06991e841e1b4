//! Chunks: consecutive changes of one partition, folded to one action a key, small enough for one call a tier. Pure.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_source::gate::Passage;
use lockstep_tiers::Action;
use lockstep_tiers::tier::{ACTIONS_MAX, ARGUMENTS_MAX, CALL_BYTES_MAX};

use crate::plan::{Effect, EntryAction};

/// Transactions whose visibility one chunk asks for.
const XIDS_MAX: usize = 1_000;
const ARGUMENTS_FIXED: usize = 200;

/// What happens to one tier.
#[derive(Default)]
pub(crate) struct TierActions {
    actions: Vec<EntryAction>,
    by_key: HashMap<Key, usize, RandomState>,
    arguments: usize,
    bytes: usize,
}

/// Consecutive changes of one partition, folded.
#[derive(Default)]
pub(crate) struct Chunk {
    /// The newest change.
    pub through: Position,
    /// The log's offset after it.
    pub next_offset: i64,
    /// Its commit time, microseconds since 1970.
    pub committed_at: i64,
    /// Entries below it are dead from now on.
    pub floor: Option<Position>,
    /// What to purge at the edge.
    pub tags: BTreeSet<String>,
    /// Not in order, and some of them twice.
    xids: Vec<u32>,
    tiers: BTreeMap<TierName, TierActions>,
}

impl Chunk {
    /// Whether a change with these effects fits in. An empty chunk takes any: the policy bounds the views of a group, and
    /// an entry its fields.
    pub fn has_room_for(&self, effects: &[Effect]) -> bool {
        if self.is_empty() {
            return true;
        }
        let fits = |(name, tier): (&TierName, &TierActions)| {
            let entries =
                || effects.iter().filter_map(|effect| effect.entry()).filter(|entry| entry.view.tier == *name);
            let (mut actions, mut arguments, mut bytes) = (tier.actions.len(), tier.arguments, tier.bytes);
            for entry in entries() {
                (actions, arguments, bytes) = (actions + 1, arguments + entry.size.0, bytes + entry.size.1);
            }
            // One that is folded into another takes no place of its own, and no more room than this.
            let folded = || entries().filter(|entry| tier.by_key.contains_key(&entry.key)).count();
            (actions <= ACTIONS_MAX || actions - folded() <= ACTIONS_MAX)
                && arguments <= ARGUMENTS_MAX - ARGUMENTS_FIXED
                && bytes <= CALL_BYTES_MAX
        };
        self.floor.is_none() && self.xids.len() < XIDS_MAX && self.tiers.iter().all(fits)
    }

    /// Takes a change in. Positions only grow.
    pub fn add(&mut self, position: Position, xid: u32, committed_at: i64, effects: Vec<Effect>) {
        assert!(position > self.through, "the log is in commit order");
        (self.through, self.committed_at) = (position, committed_at);
        self.xids.push(xid);
        for effect in effects {
            match effect {
                Effect::Purge(tag) => drop(self.tags.insert(tag)),
                Effect::Entry(entry) => self.tiers.entry(entry.view.tier).or_default().fold(entry),
            }
        }
    }

    /// Takes an event in that raises the floor. Nothing is added after it.
    pub fn raise_floor(&mut self, position: Position, xid: Option<u32>, partition_tag: String) {
        assert!(position > self.through, "the log is in commit order");
        (self.through, self.floor) = (position, Some(position));
        self.xids.extend(xid);
        self.tags.insert(partition_tag);
    }

    /// Whether nothing has been taken in.
    pub fn is_empty(&self) -> bool {
        self.through == Position::LEAST
    }

    /// What must be visible before it is applied.
    pub fn passage(&self) -> Passage {
        let xids = BTreeSet::from_iter(self.xids.iter().copied()).into_iter().collect();
        Passage { epoch: self.through.epoch, through: self.through.lsn, xids }
    }

    /// The actions of each tier, which leave it.
    pub fn take_actions(&mut self) -> BTreeMap<TierName, Vec<EntryAction>> {
        std::mem::take(&mut self.tiers).into_iter().map(|(tier, actions)| (tier, actions.actions)).collect()
    }
}

impl TierActions {
    /// Many changes of one key become one action: known fields merged, newest position; an invalidation stays one.
    fn fold(&mut self, entry: EntryAction) {
        let at = match self.by_key.entry(entry.key.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                new.insert(self.actions.len());
                (self.arguments, self.bytes) = (self.arguments + entry.size.0, self.bytes + entry.size.1);
                self.actions.push(entry);
                return;
            }
        };
        let folded = &mut self.actions[at];
        (self.arguments, self.bytes) = (self.arguments - folded.size.0, self.bytes - folded.size.1);
        merge(&mut folded.action, entry.action);
        folded.size = folded.action.size();
        (self.arguments, self.bytes) = (self.arguments + folded.size.0, self.bytes + folded.size.1);
    }
}

fn merge(folded: &mut Action, newer: Action) {
    match (&mut *folded, newer) {
        (
            Action::Refresh { position, ttl, born, fields },
            Action::Refresh { position: newest, ttl: life, born: youngest, fields: changed },
        ) => {
            (*position, *ttl) = (newest, life);
            // What is not known of a later change did not change: the row is as whole as it was.
            *born = youngest.or(*born);
            fields.learn(changed);
        }
        (Action::Invalidate, _) => {}
        (_, newer) => *folded = newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_schemas::change::{Cell, Row};
    use lockstep_schemas::policy::{DEFAULT, Policy};
    use lockstep_schemas::position::Lsn;
    use std::sync::Arc;
    use std::time::Duration;

    fn position(ordinal: u32) -> Position {
        Position { epoch: 1, lsn: Lsn(10), ordinal }
    }

    fn entry(entity: &str, action: Action) -> Effect {
        let view = Policy::parse(DEFAULT).expect("the default policy").views["product_all"].clone();
        Effect::Entry(EntryAction::new(view.clone(), entity.into(), view.key.key(entity), action))
    }

    fn refresh(ordinal: u32, fields: &[(&str, &str)]) -> Action {
        let cells = fields.iter().map(|(_, text)| Cell::Value((*text).into())).collect();
        let fields = Row::new(fields.iter().map(|(name, _)| Arc::from(*name)).collect(), cells);
        Action::Refresh { position: position(ordinal), ttl: Duration::from_secs(1), born: None, fields }
    }

    #[test]
    fn one_action_a_key() {
        let mut chunk = Chunk::default();
        chunk.add(position(1), 5, 0, vec![entry("a", refresh(1, &[("stock", "3"), ("name", "x")]))]);
        chunk.add(position(2), 6, 0, vec![entry("b", Action::Invalidate)]);
        chunk.add(position(3), 5, 0, vec![entry("a", refresh(3, &[("stock", "2")])), entry("b", refresh(3, &[]))]);
        let passage = chunk.passage();
        let actions: Vec<_> = chunk
            .take_actions()
            .remove(&TierName::L2)
            .unwrap_or_default()
            .into_iter()
            .map(|entry| entry.action)
            .collect();
        assert_eq!(actions, [refresh(3, &[("stock", "2"), ("name", "x")]), Action::Invalidate]);
        assert_eq!(passage.xids, [5, 6], "every change is gated, also where it was folded [5c]");
        assert_eq!(chunk.through, position(3));
    }

    #[test]
    fn a_row_stays_as_whole_as_it_was() {
        let of = |ordinal, age, cells: [Option<&str>; 2]| {
            let cell = |text: Option<&str>| text.map_or(Cell::Unknown, |text| Cell::Value(text.into()));
            let fields = Row::new(["stock".into(), "name".into()].into(), cells.map(cell).into());
            Action::Refresh { position: position(ordinal), ttl: Duration::from_secs(1), born: age, fields }
        };
        let (whole, part) = ([Some("3"), Some("x")], [Some("2"), None]);
        for (first, second, expected) in [
            (of(1, Some(10), whole), of(2, None, part), of(2, Some(10), [Some("2"), Some("x")])),
            (of(1, None, part), of(2, Some(20), whole), of(2, Some(20), whole)),
            (of(1, Some(10), whole), of(2, Some(20), whole), of(2, Some(20), whole)),
            (of(1, None, part), of(2, None, part), of(2, None, part)),
        ] {
            let mut folded = first;
            merge(&mut folded, second);
            assert_eq!(folded, expected);
        }
    }

    #[test]
    fn a_chunk_fits_into_a_call() {
        let mut chunk = Chunk::default();
        let effects = |n: u32| (0..7).map(|view| entry(&format!("{n}-{view}"), Action::Invalidate)).collect::<Vec<_>>();
        let mut n = 1;
        while chunk.has_room_for(&effects(n)) {
            chunk.add(position(n), 1, 0, effects(n));
            n += 1;
        }
        let actions = chunk.take_actions()[&TierName::L2].len();
        assert!(actions <= ACTIONS_MAX && actions > ACTIONS_MAX - 7, "{actions}");
        let large = |n: u32| vec![entry(&n.to_string(), refresh(n, &[("name", &"x".repeat(100_000))]))];
        let mut heavy = Chunk::default();
        let fitting = (1..9).take_while(|n| {
            heavy.has_room_for(&large(*n)) && {
                heavy.add(position(*n), 1, 0, large(*n));
                true
            }
        });
        assert_eq!(fitting.count(), 2, "a call blocks its node");
        let mut floored = Chunk::default();
        floored.raise_floor(position(1), None, "t".to_owned());
        assert!(!floored.has_room_for(&[]));
    }
}
