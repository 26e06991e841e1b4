//! Holds each answer against what was shown before, and against what its own position promises.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lockstep_schemas::position::Position;

use crate::history::History;
use crate::rows::{Row, Seen, Table};

/// Who gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum By {
    L1,
    L2,
    Database,
    Edge,
}

/// Violations that are kept; the first ones tell most.
const VIOLATIONS_MAX: usize = 20;

#[derive(Default)]
pub struct Witness {
    pub history: History,
    shown: Mutex<HashMap<(By, Row), u64>>,
    violations: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

/// What tiers had shown of an entity when a request began, so that answers under way side by side are not held against
/// one another.
pub struct Before(HashMap<(By, Row), u64>);

/// An answer, and what it must contain.
pub struct Answer {
    pub by: By,
    pub rows: Vec<(Row, Seen)>,
    /// It says itself that it holds everything up to here.
    pub position: Option<Position>,
    /// Everything before it had left this tier when the request began.
    pub purged: Option<Position>,
}

impl Witness {
    pub fn before_product(&self, n: usize) -> Before {
        self.before(&Table::CATALOGUE.map(|table| Row(table, n)))
    }

    pub fn before_user(&self, n: usize) -> Before {
        self.before(&[Row(Table::Users, n)])
    }

    fn before(&self, rows: &[Row]) -> Before {
        let shown = lock(&self.shown);
        let keys = rows.iter().flat_map(|row| [(By::L1, *row), (By::L2, *row)]);
        Before(keys.filter_map(|key| Some((key, *shown.get(&key)?))).collect())
    }

    pub fn check(&self, before: &Before, answer: &Answer) {
        self.count(&format!("{:?}", answer.by).to_lowercase());
        for (row, seen) in &answer.rows {
            let lsn = |position: &Option<Position>| position.map_or(0, |position| position.lsn.0);
            let least = [
                self.shown_before(before, answer.by, *row),
                ("its position", self.history.version_before(*row, lsn(&answer.position))),
                ("what was purged", self.history.version_before(*row, lsn(&answer.purged))),
            ];
            for (why, least) in least {
                match self.history.place(*row, seen, least) {
                    Ok(version) => self.show(answer.by, *row, version),
                    Err(wrong) => {
                        let (by, position) = (answer.by, answer.position);
                        let trace = self.history.trace(*row);
                        self.accuse(format!("{by:?} {row:?} {seen:?} at {position:?}: {wrong}, by {why}; {trace}"));
                        break;
                    }
                }
            }
        }
    }

    /// A tier's own answers never go backwards. The database is never behind L2, which holds only what is visible. The
    /// edge may go backwards for a while; what was purged says for how long.
    fn shown_before(&self, before: &Before, by: By, row: Row) -> (&'static str, u64) {
        let tier = match by {
            By::L1 => By::L1,
            By::L2 | By::Database => By::L2,
            By::Edge => return ("nothing", 0),
        };
        ("what was shown", before.0.get(&(tier, row)).copied().unwrap_or(0))
    }

    fn show(&self, by: By, row: Row, version: u64) {
        let mut shown = lock(&self.shown);
        let newest = shown.entry((by, row)).or_default();
        *newest = version.max(*newest);
    }

    pub fn accuse(&self, violation: String) {
        let mut violations = lock(&self.violations);
        if violations.len() < VIOLATIONS_MAX {
            violations.push(violation);
        }
    }

    pub fn violations(&self) -> Vec<String> {
        lock(&self.violations).clone()
    }

    /// Forgets what was shown, not what was written.
    pub fn forget(&self) {
        lock(&self.shown).clear();
        lock(&self.violations).clear();
    }

    pub fn count(&self, what: &str) {
        *lock(&self.counts).entry(what.to_owned()).or_default() += 1;
    }

    pub fn counted(&self, what: &str) -> u64 {
        lock(&self.counts).get(what).copied().unwrap_or(0)
    }

    pub fn counts(&self) -> String {
        let counts = lock(&self.counts);
        counts.iter().map(|(what, n)| format!("{what} {n}")).collect::<Vec<_>>().join(", ")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
