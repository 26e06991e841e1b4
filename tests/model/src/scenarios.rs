//! What is explored: a model, what is looked for, and what must be found.

mod beyond;
mod edges;
mod fills;
mod lanes;
mod tagged;
mod whole;

use crate::explore::{Explored, Limits, Model, explore};
use crate::promise::{Promise, Promises};
use crate::rules::{Rule, Rules};

/// One exploration.
pub struct Scenario {
    /// The counterexample's id in docs/protocol.md, section 12, or the family's name where all rules are on.
    pub id: &'static str,
    /// Its bounds in words.
    pub bounds: String,
    /// The rules that are off.
    pub off: Vec<Rule>,
    /// What must come of it.
    pub expected: Expected,
    /// What is looked for.
    pub sought: Promises,
    run: Box<dyn Fn(Promises, Limits) -> Explored + Send + Sync>,
}

/// What must come of an exploration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No reachable state breaks a promise.
    Holds,
    /// The shortest way to a state that breaks this promise has so many steps.
    Breaks(Promise, usize),
}

impl Scenario {
    /// With all rules on.
    pub fn holds<M: Model + Send + Sync + 'static>(id: &'static str, bounds: &str, sought: Promises, model: M) -> Self {
        Scenario::new(id, bounds, &[], sought, Expected::Holds, model)
    }

    /// With rules off.
    pub fn breaks<M: Model + Send + Sync + 'static>(
        id: &'static str,
        bounds: &str,
        off: &[Rule],
        (promise, steps): (Promise, usize),
        model: impl FnOnce(Rules) -> M,
    ) -> Self {
        let model = model(Rules::ALL.without(off));
        Scenario::new(id, bounds, off, promise.into(), Expected::Breaks(promise, steps), model)
    }

    /// With rules off that others make up for.
    pub fn spares<M: Model + Send + Sync + 'static>(
        id: &'static str,
        bounds: &str,
        off: &[Rule],
        sought: Promises,
        model: impl FnOnce(Rules) -> M,
    ) -> Self {
        Scenario::new(id, bounds, off, sought, Expected::Holds, model(Rules::ALL.without(off)))
    }

    fn new<M: Model + Send + Sync + 'static>(
        id: &'static str,
        bounds: &str,
        off: &[Rule],
        sought: Promises,
        expected: Expected,
        model: M,
    ) -> Self {
        Scenario::by(id, bounds, off, sought, expected, move |sought, limits| explore(&model, sought, limits))
    }

    /// By an exploration of its own.
    fn by(
        id: &'static str,
        bounds: &str,
        off: &[Rule],
        sought: Promises,
        expected: Expected,
        run: impl Fn(Promises, Limits) -> Explored + Send + Sync + 'static,
    ) -> Self {
        Scenario { id, bounds: bounds.to_owned(), off: off.to_vec(), expected, sought, run: Box::new(run) }
    }

    /// Explores it.
    pub fn explore(&self, limits: Limits) -> Explored {
        (self.run)(self.sought, limits)
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = Scenario> {
    [without_a_rule(), with_a_rule_to_spare(), with_all_rules(), at_large_bounds()].into_iter().flatten()
}

/// Rules off, one or more, and what breaks.
pub fn without_a_rule() -> Vec<Scenario> {
    [fills::broken(), lanes::broken(), beyond::broken(), edges::broken(), tagged::broken()]
        .into_iter()
        .flatten()
        .collect()
}

/// A rule off, and still nothing breaks: another rule is enough, within these bounds. Both off is among the broken.
pub fn with_a_rule_to_spare() -> Vec<Scenario> {
    [fills::spared(), beyond::spared(), edges::spared()].into_iter().flatten().collect()
}

/// All rules on, at small bounds.
pub fn with_all_rules() -> Vec<Scenario> {
    [whole::small(), beyond::small(), edges::small(), tagged::small()].into_iter().flatten().collect()
}

/// At bounds that take minutes and gigabytes.
pub fn at_large_bounds() -> Vec<Scenario> {
    [whole::large(), beyond::large(), edges::large(), tagged::large()].into_iter().flatten().collect()
}
