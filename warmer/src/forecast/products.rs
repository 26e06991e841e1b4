//! Products as small numbers, so that a column has a value for each.

use std::collections::HashMap;
use std::sync::Arc;

/// The products ever sold, numbered in the order in which they came.
#[derive(Clone, Default)]
pub struct Products {
    numbers: HashMap<Arc<str>, usize>,
    names: Vec<Arc<str>>,
}

impl Products {
    /// The number of a product, a new one where it is not known.
    pub fn number_or_new(&mut self, name: &Arc<str>) -> usize {
        *self.numbers.entry(Arc::clone(name)).or_insert_with(|| {
            self.names.push(Arc::clone(name));
            self.names.len() - 1
        })
    }

    /// The number of a product that is known.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The product of a number.
    pub fn name(&self, number: usize) -> &Arc<str> {
        &self.names[number]
    }

    /// The same products, each under the number that it had.
    pub fn numbered(names: Vec<Arc<str>>) -> Self {
        let numbers = names.iter().enumerate().map(|(number, name)| (Arc::clone(name), number)).collect();
        Products { numbers, names }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}
