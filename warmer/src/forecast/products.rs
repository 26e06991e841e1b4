//! Products as small numbers, so that a column has a value for each.

use std::collections::HashMap;
use std::sync::Arc;

/// The products that are remembered, numbered in the order in which they came, without gaps.
#[derive(Clone, Default)]
pub struct Products {
    numbers: HashMap<Arc<str>, usize>,
    names: Vec<Named>,
}

/// A product, and its place in the order of all that ever came: that one stays when others are forgotten.
#[derive(Clone)]
struct Named {
    name: Arc<str>,
    ordinal: usize,
}

impl Products {
    /// The number of a product, a new one where it is not known.
    pub fn number_or_new(&mut self, name: &Arc<str>) -> usize {
        *self.numbers.entry(Arc::clone(name)).or_insert_with(|| {
            let ordinal = self.names.last().map_or(0, |last| last.ordinal + 1);
            self.names.push(Named { name: Arc::clone(name), ordinal });
            self.names.len() - 1
        })
    }

    /// The number of a product that is known.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The product of a number.
    pub fn name(&self, number: usize) -> &Arc<str> {
        &self.names[number].name
    }

    /// Its place in the order of all that ever came, which no forgetting changes.
    pub fn ordinal(&self, number: usize) -> usize {
        self.names[number].ordinal
    }

    /// The same products, by their ordinals, which grow.
    pub fn ordered(ordered: Vec<(usize, Arc<str>)>) -> Self {
        let names = ordered.into_iter().map(|(ordinal, name)| Named { name, ordinal }).collect();
        let mut products = Products { numbers: HashMap::new(), names };
        products.renumber();
        products
    }

    /// Only those for which `is_kept` is true remain, in their order and without gaps; the others are returned.
    pub fn retain(&mut self, is_kept: &[bool]) -> Vec<Arc<str>> {
        let (mut kept, mut gone) = (is_kept.iter(), Vec::new());
        self.names.retain(|named| {
            let is_kept = kept.next().copied().unwrap_or(true);
            if !is_kept {
                gone.push(Arc::clone(&named.name));
            }
            is_kept
        });
        self.renumber();
        gone
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn renumber(&mut self) {
        let numbered = self.names.iter().enumerate();
        self.numbers = numbered.map(|(number, named)| (Arc::clone(&named.name), number)).collect();
    }
}
