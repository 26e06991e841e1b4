//! One row's insert, update, delete or truncate, as the log has it.

use std::fmt;
use std::sync::Arc;

use crate::position::Position;
use crate::shown::Shown;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new row.
    Insert,
    /// A row with new values under the same key.
    Update,
    /// A row that is gone.
    Delete,
    /// All rows of the table are gone.
    Truncate,
    /// A row read by a snapshot. The engine ignores it (docs/protocol.md, [12a]).
    Read,
}

impl Op {
    /// Debezium's letter for it.
    pub fn letter(self) -> &'static str {
        match self {
            Op::Insert => "c",
            Op::Update => "u",
            Op::Delete => "d",
            Op::Truncate => "t",
            Op::Read => "r",
        }
    }

    /// From Debezium's letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        [Op::Insert, Op::Update, Op::Delete, Op::Truncate, Op::Read].into_iter().find(|op| op.letter() == letter)
    }
}

/// A column's text. Each tier's action has its own: a short one is copied in place, a long one is shared.
pub type Text = smol_str::SmolStr;
pub(crate) use smol_str::SmolStrBuilder as TextBuilder;

/// The three states of a column. Unknown is never written anywhere as a value.
#[derive(Clone, PartialEq, Eq)]
pub enum Cell {
    /// Its canonical text ([`crate::column`]).
    Value(Text),
    /// SQL null.
    Null,
    /// The log does not carry it: an unchanged TOAST value, or a column outside the identity of an old row.
    Unknown,
}

/// Whether the column is private is not known here, so its value is masked.
impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Value(text) => fmt::Display::fmt(&Shown::private(text), f),
            Cell::Null => f.write_str("null"),
            Cell::Unknown => f.write_str("unknown"),
        }
    }
}

/// A row's columns, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    columns: Arc<[Arc<str>]>,
    cells: Vec<Cell>,
}

impl Row {
    /// A row of `cells`, one for each of `columns`.
    pub fn new(columns: Arc<[Arc<str>]>, cells: Vec<Cell>) -> Self {
        assert_eq!(columns.len(), cells.len(), "a cell for each column");
        Row { columns, cells }
    }

    /// The column's cell; a column that the row does not have is unknown.
    pub fn get(&self, column: &str) -> &Cell {
        let at = self.columns.iter().position(|name| &**name == column);
        at.map_or(&Cell::Unknown, |at| &self.cells[at])
    }

    /// Whether the row has such a column at all. The log leaves some out: generated ones, and those that are not
    /// published.
    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| &**name == column)
    }

    /// The cells of some columns; `None` for one that the row does not have at all. Quick where they come in the row's order.
    pub fn cells<'r>(
        &'r self,
        columns: impl IntoIterator<Item = &'r Arc<str>>,
    ) -> impl Iterator<Item = (&'r Arc<str>, Option<&'r Cell>)> {
        let mut next = 0;
        columns.into_iter().map(move |column| {
            let in_order = self.columns.get(next).is_some_and(|name| name == column);
            let at = if in_order { Some(next) } else { self.columns.iter().position(|name| name == column) };
            next = at.map_or(next, |at| at + 1);
            (column, at.map(|at| &self.cells[at]))
        })
    }

    /// The column's text, where it is known and not null.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.get(column) {
            Cell::Value(text) => Some(text),
            Cell::Null | Cell::Unknown => None,
        }
    }

    /// Whether every one of its columns is known.
    pub fn is_known(&self) -> bool {
        !self.cells.contains(&Cell::Unknown)
    }

    /// Takes over what a later row knows; the columns that only that one has come last.
    pub fn learn(&mut self, later: Row) {
        let has_the_same = Arc::ptr_eq(&self.columns, &later.columns) || self.columns == later.columns;
        if !has_the_same {
            let others = later.columns.iter().filter(|column| !self.has(column)).cloned();
            self.columns = self.columns.iter().cloned().chain(others).collect();
            self.cells.resize(self.columns.len(), Cell::Unknown);
        }
        for (at, (column, cell)) in later.columns.iter().zip(later.cells).enumerate() {
            let at = if has_the_same { Some(at) } else { self.columns.iter().position(|known| known == column) };
            if let Some(at) = at.filter(|_| cell != Cell::Unknown) {
                self.cells[at] = cell;
            }
        }
    }

    /// Marks a column unknown.
    pub(crate) fn forget(&mut self, column: &str) {
        if let Some(at) = self.columns.iter().position(|name| &**name == column) {
            self.cells[at] = Cell::Unknown;
        }
    }

    /// Every column with its cell.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Cell)> + Clone {
        self.columns.iter().map(|name| &**name).zip(&self.cells)
    }
}

/// One row's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stands in the database's history.
    pub position: Position,
    /// The transaction's id, its low 32 bits, for the gate.
    pub xid: u32,
    /// When the server committed it, in microseconds since 1970.
    pub committed_at: i64,
    /// `schema.table`.
    pub table: Arc<str>,
    /// What happened.
    pub op: Op,
    /// The old row; trusted for the columns of the replica identity only.
    pub before: Option<Row>,
    /// The new row.
    pub after: Option<Row>,
    /// Whether a value that may have changed is not in the record: the row was too large, or Avro's type can't hold it.
    /// An unknown column of any other row is one that did not change.
    pub incomplete: bool,
}

impl Change {
    /// The row that names the entity: the new one, or the old one of a delete.
    pub fn row(&self) -> Option<&Row> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn row(cells: &[(usize, Cell)]) -> Row {
        let names = cells.iter().map(|(name, _)| Arc::from(format!("c{name}"))).collect();
        Row::new(names, cells.iter().map(|(_, cell)| cell.clone()).collect())
    }

    fn known(row: &Row) -> BTreeMap<String, Cell> {
        let known = row.iter().filter(|(_, cell)| **cell != Cell::Unknown);
        known.map(|(name, cell)| (name.to_owned(), cell.clone())).collect()
    }

    /// Columns in any order, each once.
    fn cells() -> impl Strategy<Value = Vec<(usize, Cell)>> {
        let cell =
            prop_oneof![Just(Cell::Unknown), Just(Cell::Null), "[a-z]{0,30}".prop_map(|t| Cell::Value(t.into()))];
        let some = prop::sample::subsequence((0..6_usize).collect::<Vec<_>>(), 0..=6).prop_shuffle();
        some.prop_flat_map(move |names| {
            let count = names.len();
            prop::collection::vec(cell.clone(), count).prop_map(move |cells| names.iter().copied().zip(cells).collect())
        })
    }

    proptest! {
        /// As if what is known were a map, and what is known later were put into it.
        #[test]
        fn what_is_known_later_wins(first in cells(), later in cells()) {
            let (mut learnt, later) = (row(&first), row(&later));
            let mut expected = known(&learnt);
            expected.extend(known(&later));
            learnt.learn(later);
            let count = learnt.iter().filter(|(_, cell)| **cell != Cell::Unknown).count();
            prop_assert_eq!(count, expected.len());
            prop_assert_eq!(known(&learnt), expected);
        }
    }
}
