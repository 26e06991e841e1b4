//! What writers did to each row: every state with its version, and which of them a position must contain.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::rows::{Row, Seen};

/// A state that a transaction gives to a row: its digest, or `None` where the row goes.
pub type Draft = (Row, u64, Option<u64>);

/// Versions grow with each write of a row: a writer draws one only while it holds the row's lock.
#[derive(Default)]
pub struct History {
    drawn: AtomicU64,
    lines: Mutex<HashMap<Row, Line>>,
}

#[derive(Default)]
struct Line {
    /// By version. Before the first one the row is absent.
    states: BTreeMap<u64, Option<u64>>,
    /// By an LSN at which a version was committed; both grow.
    committed: BTreeMap<u64, u64>,
}

impl History {
    pub fn draw(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn drawn(&self) -> u64 {
        self.drawn.load(Ordering::SeqCst)
    }

    /// Takes states in, before anybody can see them.
    pub fn record(&self, drafts: &[Draft]) {
        let mut lines = self.lock();
        for (row, version, state) in drafts {
            lines.entry(*row).or_default().states.insert(*version, *state);
        }
    }

    /// The transaction has been committed before this LSN.
    pub fn committed(&self, lsn: u64, drafts: &[Draft]) {
        let mut lines = self.lock();
        for (row, version, _) in drafts {
            let committed = &mut lines.entry(*row).or_default().committed;
            if committed.range(..=lsn).next_back().is_some_and(|(_, newer)| newer >= version) {
                continue;
            }
            committed.retain(|other, older| *other < lsn || *older > *version);
            committed.insert(lsn, *version);
        }
    }

    /// The newest version of a row that was committed before an LSN, as far as is known.
    pub fn version_before(&self, row: Row, lsn: u64) -> u64 {
        let lines = self.lock();
        let Some(line) = lines.get(&row) else { return 0 };
        line.committed.range(..=lsn).next_back().map_or(0, |(_, version)| *version)
    }

    /// Whether what was seen may be the row's state at version `least` or later: the least version that it can be.
    pub fn place(&self, row: Row, seen: &Seen, least: u64) -> Result<u64, String> {
        let lines = self.lock();
        let nothing = Line::default();
        let line = lines.get(&row).unwrap_or(&nothing);
        match seen {
            Seen::Torn(columns) => Err(format!("torn: only {columns}")),
            Seen::State { version, digest } => match line.states.get(version) {
                Some(Some(known)) if known == digest => {
                    if *version >= least {
                        Ok(*version)
                    } else {
                        Err(format!("older than version {least}"))
                    }
                }
                Some(Some(_)) => Err("not the columns that this version has".to_owned()),
                Some(None) | None => Err("no version that was ever committed".to_owned()),
            },
            Seen::Absent => {
                if least == 0 || line.states.get(&least).is_some_and(Option::is_none) {
                    return Ok(least);
                }
                let mut later = line.states.range(least..);
                let gone = later.find(|(_, state)| state.is_none()).map(|(version, _)| *version);
                gone.ok_or_else(|| format!("absent, and not deleted since version {least}"))
            }
        }
    }

    /// The row's last states, for a report.
    pub fn trace(&self, row: Row) -> String {
        let lines = self.lock();
        let Some(line) = lines.get(&row) else { return "never written".to_owned() };
        let states: Vec<String> = line
            .states
            .iter()
            .rev()
            .take(12)
            .map(|(v, s)| format!("{v}{}", if s.is_some() { "" } else { "-" }))
            .collect();
        let committed: Vec<String> =
            line.committed.iter().rev().take(12).map(|(lsn, v)| format!("{v}@{lsn:X}")).collect();
        format!("states {} (- is a deletion), committed {}", states.join(" "), committed.join(" "))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Row, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn an_absence_needs_a_deletion() {
    let row = Row(crate::rows::Table::Prices, 1);
    let history = History::default();
    let state = |version, digest| Seen::State { version, digest };
    history.record(&[(row, 3, Some(30)), (row, 5, None), (row, 8, Some(80))]);
    for (seen, least, expected) in [
        (Seen::Absent, 0, Some(0)),
        (Seen::Absent, 3, Some(5)),
        (Seen::Absent, 8, None),
        (state(3, 30), 3, Some(3)),
        (state(3, 30), 5, None),
        (state(8, 30), 0, None),
        (state(5, 30), 0, None),
        (state(7, 30), 0, None),
    ] {
        assert_eq!(history.place(row, &seen, least).ok(), expected, "{seen:?} from {least}");
    }
}

#[test]
fn a_position_contains_what_was_committed_before() {
    let row = Row(crate::rows::Table::Prices, 1);
    let history = History::default();
    for (lsn, version) in [(100, 3), (90, 2), (120, 9), (110, 5), (130, 8)] {
        history.committed(lsn, &[(row, version, None)]);
    }
    let known = [80, 95, 100, 115, 120, 140].map(|lsn| history.version_before(row, lsn));
    assert_eq!(known, [0, 2, 3, 5, 9, 9]);
}
