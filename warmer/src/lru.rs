//! An exact LRU that holds names only: what a cache of the same size would have had, were it left to its readers. Pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The names asked for last.
#[derive(Debug)]
pub struct Lru {
    capacity: usize,
    /// When each was asked for last.
    last: HashMap<Arc<str>, u64>,
    /// The same, oldest first.
    order: BTreeMap<u64, Arc<str>>,
    clock: u64,
}

impl Lru {
    /// An empty one that holds so many names.
    pub fn new(capacity: usize) -> Self {
        Lru { capacity, last: HashMap::new(), order: BTreeMap::new(), clock: 0 }
    }

    /// A name is asked for; whether it was there. It is now, and what was asked for longest ago may have gone for it.
    pub fn ask(&mut self, name: &str) -> bool {
        self.clock += 1;
        if let Some(last) = self.last.get_mut(name) {
            if let Some(known) = self.order.remove(&std::mem::replace(last, self.clock)) {
                self.order.insert(self.clock, known);
            }
            return true;
        }
        let name: Arc<str> = name.into();
        self.last.insert(Arc::clone(&name), self.clock);
        self.order.insert(self.clock, name);
        self.shrink();
        false
    }

    /// Holds so many from now on.
    pub fn resize(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.shrink();
    }

    /// How many it holds.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    fn shrink(&mut self) {
        while self.last.len() > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { return };
            self.last.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The plainest form: a list, the newest first.
        #[test]
        fn it_is_the_list_that_it_stands_for(asked in prop::collection::vec(0_u8..9, 0..200), capacity in 0_usize..8) {
            let (mut lru, mut list) = (Lru::new(capacity), Vec::new());
            for name in asked {
                let there = list.iter().position(|known| *known == name).map(|at| list.remove(at)).is_some();
                list.insert(0, name);
                list.truncate(capacity);
                prop_assert_eq!(lru.ask(&name.to_string()), there);
                prop_assert_eq!(lru.len(), list.len());
            }
        }
    }
}
