//! How often an LRU of each size would have hit, from one pass over what was asked for (Mattson, Gecsei, Slutz and Traiger,
//! 1970): a name is hit by every cache larger than the number of other names asked for since it was last. Pure.

use std::collections::HashMap;
use std::sync::Arc;

/// Distances are counted up to so many names; beyond, they count as never.
const DISTANCE_MAX: usize = 1 << 20;

/// The distances of what has been asked for.
#[derive(Debug, Default)]
pub struct Distances {
    /// When each name was asked for last, as a place in the tree.
    last: HashMap<Arc<str>, usize>,
    /// A Fenwick tree over time: 1 where some name was asked for last.
    tree: Vec<u32>,
    /// How often each distance was met.
    met: Vec<u64>,
    asked: u64,
}

impl Distances {
    /// A name is asked for. `counts`: whether that is part of the measurement, or only what a cache would have seen before.
    pub fn ask(&mut self, name: &str, counts: bool) {
        if self.tree.len() >= 2 * self.last.len().max(DISTANCE_MAX / 2) {
            self.renumber();
        }
        let now = self.tree.len();
        self.asked += u64::from(counts);
        match self.last.get_mut(name) {
            Some(last) => {
                let before = std::mem::replace(last, now);
                // Names asked for since, this one not among them.
                let distance = self.last.len() - self.up_to(before);
                self.add(before, false);
                if counts && distance < DISTANCE_MAX {
                    if self.met.len() <= distance {
                        self.met.resize(distance + 1, 0);
                    }
                    self.met[distance] += 1;
                }
            }
            None => drop(self.last.insert(name.into(), now)),
        }
        self.push();
    }

    /// How many names were asked for.
    pub fn names(&self) -> usize {
        self.last.len()
    }

    /// How often any was asked for while it counted.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// The hit ratio of an LRU of so many entries, 0 to 1; `None` where nothing counted.
    pub fn hit_ratio(&self, entries: usize) -> Option<f64> {
        let hits: u64 = self.met.iter().take(entries).sum();
        (self.asked > 0).then(|| hits as f64 / self.asked as f64)
    }

    /// The fewest entries with such a hit ratio; `None` where no size reaches it.
    pub fn entries_for(&self, hit_ratio: f64) -> Option<usize> {
        let mut hits = 0;
        self.met.iter().enumerate().find_map(|(distance, met)| {
            hits += met;
            (hits as f64 / self.asked as f64 >= hit_ratio).then_some(distance + 1)
        })
    }

    /// The sum of all places up to and with `at`.
    fn up_to(&self, at: usize) -> usize {
        let (mut sum, mut node) = (0, at + 1);
        while node > 0 {
            sum += self.tree[node - 1] as usize;
            node &= node - 1;
        }
        sum
    }

    fn add(&mut self, at: usize, up: bool) {
        let mut node = at + 1;
        while node <= self.tree.len() {
            let value = &mut self.tree[node - 1];
            *value = if up { *value + 1 } else { *value - 1 };
            node += node & node.wrapping_neg();
        }
    }

    /// Adds a place with a 1 at the end: its node sums up the nodes that it covers.
    fn push(&mut self) {
        let node = self.tree.len() + 1;
        let first = node - (node & node.wrapping_neg());
        let (mut sum, mut part) = (1, node - 1);
        while part > first {
            sum += self.tree[part - 1];
            part &= part - 1;
        }
        self.tree.push(sum);
    }

    /// Gives the names places from 0 on, in their order: time that nobody stands at is forgotten.
    fn renumber(&mut self) {
        let mut names: Vec<&mut usize> = self.last.values_mut().collect();
        names.sort_unstable();
        for (at, place) in names.into_iter().enumerate() {
            *place = at;
        }
        self.tree.clear();
        for _ in 0..self.last.len() {
            self.push();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lru::Lru;

    proptest! {
        #[test]
        fn the_curve_is_that_of_an_lru_of_each_size(asked in prop::collection::vec(0_u8..20, 1..300), from in 0_usize..100) {
            let mut distances = Distances::default();
            for (at, name) in asked.iter().enumerate() {
                if at % 37 == 36 {
                    distances.renumber();
                }
                distances.ask(&name.to_string(), at >= from);
            }
            for entries in 0..21 {
                let mut lru = Lru::new(entries);
                let hits = asked.iter().enumerate().filter(|(at, name)| lru.ask(&name.to_string()) && *at >= from).count();
                let ratio = (asked.len() > from).then(|| hits as f64 / (asked.len() - from) as f64);
                prop_assert_eq!(distances.hit_ratio(entries), ratio);
                if let Some(ratio) = ratio.filter(|ratio| *ratio > 0.0) {
                    prop_assert!(distances.entries_for(ratio).is_some_and(|fewest| fewest <= entries));
                }
            }
        }
    }
}
