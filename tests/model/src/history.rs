//! What happens to one entry in the database: a product's row P with a price and a text, and its stock's row I.
//!
//! A commit is known by its number, which is its position too. A column's value is the number of the commit that wrote it
//! last, so newer values are greater ones.

/// Commits of one history.
pub const COMMITS_MAX: usize = 7;
/// P's price, P's text, I's quantity.
pub const COLUMNS: usize = 3;
/// A column that has no value: its row is missing, or it was never written.
pub const MISSING: u8 = u8::MAX;

/// A value for each column; 0 where a model does not use it.
pub type Values = [u8; COLUMNS];

/// What a commit does to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The only one that refreshes.
    Update,
    /// P appears.
    Insert,
    /// P goes.
    Delete,
}

/// One commit.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    /// Its name in traces.
    pub name: &'static str,
    op: Op,
    /// Rows that it writes, and whose locks it holds until it is visible: 1 = P, 2 = I, 0: another entity.
    rows: u8,
    changes: u8,
    knows: u8,
}

/// An update of P's price; of a text that lies in TOAST, it says nothing.
pub const PRICE: Commit = Commit { name: "P", op: Op::Update, rows: 1, changes: 1, knows: 1 };
/// An update of P's text, which brings the price along.
pub const TEXT: Commit = Commit { name: "text", op: Op::Update, rows: 1, changes: 2, knows: 3 };
/// An update of I.
pub const STOCK: Commit = Commit { name: "I", op: Op::Update, rows: 2, changes: 4, knows: 4 };
/// P and I in one transaction.
pub const BOTH: Commit = Commit { name: "P and I", op: Op::Update, rows: 3, changes: 5, knows: 5 };
/// P appears.
pub const INSERT: Commit = Commit { name: "insert P", op: Op::Insert, rows: 1, changes: 1, knows: 1 };
/// P goes.
pub const DELETE: Commit = Commit { name: "delete P", op: Op::Delete, rows: 1, changes: 1, knows: 1 };
/// Of another entity in the same partition.
pub const OTHER: Commit = Commit { name: "other", op: Op::Update, rows: 0, changes: 0, knows: 0 };

/// The commits of a model, in the order of the log.
#[derive(Clone, Debug)]
pub struct History {
    commits: Vec<Commit>,
    used: u8,
    begins_absent: bool,
    /// The row as the database shows it, by the set of commits that are visible.
    contents: Vec<Values>,
}

impl History {
    /// A row that exists when the history begins.
    pub fn new(commits: &[Commit]) -> Self {
        History::build(commits, false)
    }

    /// A row that doesn't.
    pub fn from_absence(commits: &[Commit]) -> Self {
        History::build(commits, true)
    }

    fn build(commits: &[Commit], begins_absent: bool) -> Self {
        assert!(commits.len() <= COMMITS_MAX, "a set of commits is eight bits");
        let used = commits.iter().fold(1, |used, commit| used | commit.changes);
        let mut history = History { commits: commits.to_vec(), used, begins_absent, contents: Vec::new() };
        history.contents = (0..1 << commits.len()).map(|seen| history.sum(seen)).collect();
        history
    }

    /// How many commits there are.
    pub fn len(&self) -> u8 {
        self.commits.len() as u8
    }

    /// Whether nothing ever happens.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }

    /// Columns that the entry has.
    pub fn columns(&self) -> impl Iterator<Item = usize> + use<> {
        let used = self.used;
        (0..COLUMNS).filter(move |column| used >> column & 1 == 1)
    }

    /// A commit by its number.
    pub fn commit(&self, number: u8) -> &Commit {
        &self.commits[usize::from(number) - 1]
    }

    /// What the database shows when these commits, bit by bit, are visible.
    pub fn contents(&self, visible: u8) -> Values {
        self.contents[usize::from(visible)]
    }

    /// The same, of the first so many commits.
    pub fn prefix(&self, number: u8) -> Values {
        self.contents((1 << number) - 1)
    }

    /// Whether there is no such row: a cached absence.
    pub fn is_absent(&self, values: &Values) -> bool {
        match values[0] {
            0 => self.begins_absent,
            MISSING => false,
            number => self.commit(number).op == Op::Delete,
        }
    }

    /// Whether an entry has all that it should have.
    pub fn is_whole(&self, values: &Values) -> bool {
        self.is_absent(values) || self.columns().all(|column| values[column] != MISSING)
    }

    /// Whether a commit has to wait for the locks of those before it that are not visible.
    pub fn is_locked(&self, number: u8, visible: u8) -> bool {
        let rows = self.commit(number).rows;
        (1..number).any(|earlier| visible >> (earlier - 1) & 1 == 0 && self.commit(earlier).rows & rows != 0)
    }

    /// What the commits after one and up to another do to the entry, folded into one action.
    pub fn fold(&self, after: u8, through: u8, insert_invalidates: bool) -> Action {
        let touching = || (after + 1..=through).filter(|number| self.commit(*number).rows != 0);
        let Some(position) = touching().next_back() else { return Action::Nothing };
        let refreshes = |op| op == Op::Update || op == Op::Insert && !insert_invalidates;
        if !touching().all(|number| refreshes(self.commit(number).op)) {
            return Action::Invalidate;
        }
        let knows = touching().fold(0, |knows, number| knows | self.commit(number).knows);
        let newest = self.prefix(through);
        let mut image = [0; COLUMNS];
        for column in self.columns() {
            image[column] = if knows >> column & 1 == 1 { newest[column] } else { MISSING };
        }
        Action::Refresh { position, image }
    }

    fn sum(&self, visible: u8) -> Values {
        let mut values = [0; COLUMNS];
        for number in (1..=self.len()).filter(|number| visible >> (number - 1) & 1 == 1) {
            for column in self.columns().filter(|column| self.commit(number).changes >> column & 1 == 1) {
                values[column] = number;
            }
        }
        if self.is_absent(&values) {
            self.columns().skip(1).for_each(|column| values[column] = MISSING);
        }
        values
    }
}

/// What an entry suffers from a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is another entity's.
    Nothing,
    /// Drop it.
    Invalidate,
    /// Write what is known.
    Refresh {
        /// Of the newest change in it.
        position: u8,
        /// `MISSING`: unknown.
        image: Values,
    },
}
