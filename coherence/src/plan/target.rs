//! Which keys a change concerns: one, or two where a column of the key changed.

use lockstep_schemas::change::{Cell, Change, Op, Row};
use lockstep_schemas::key::{Key, KeyPattern};

use super::NoEntity;

/// The keys that a change concerns.
pub(super) struct Targets {
    /// Two only where it has moved.
    pub keys: [Option<Key>; 2],
    /// Whether the entry has another key than before.
    pub moved: bool,
}

impl Targets {
    /// An update without an old row left its identity as it was, and keys are made of nothing else (the preflight refuses
    /// another table).
    pub fn of(change: &Change, pattern: &KeyPattern, entity: &str) -> Result<Targets, NoEntity> {
        if pattern.is_plain() {
            return Ok(Targets { keys: [Some(pattern.key(entity)), None], moved: false });
        }
        let key = |row: &Row| key(change, pattern, entity, row);
        let old = change.before.as_ref().map(key).transpose()?.flatten();
        let new = change.after.as_ref().map(key).transpose()?.flatten();
        let moved = change.op == Op::Update && change.before.is_some() && old != new;
        Ok(Targets { keys: if moved { [old, new] } else { [new.or(old), None] }, moved })
    }
}

/// The key of one row; `None` where a column of it is null. What is unknown in the new row did not change.
fn key(change: &Change, pattern: &KeyPattern, entity: &str, row: &Row) -> Result<Option<Key>, NoEntity> {
    let other = if change.incomplete { None } else { change.before.as_ref() };
    if pattern.others().any(|column| *cell(row, other, column) == Cell::Unknown) {
        return Err(NoEntity);
    }
    Ok(pattern.key_of(entity, |column| match cell(row, other, column) {
        Cell::Value(text) => Some(text.as_str()),
        Cell::Null | Cell::Unknown => None,
    }))
}

fn cell<'r>(row: &'r Row, other: Option<&'r Row>, column: &str) -> &'r Cell {
    match (row.get(column), other) {
        (Cell::Unknown, Some(other)) => other.get(column),
        (cell, _) => cell,
    }
}
