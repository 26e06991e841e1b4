//! How far the snapshots are: which tables are left, and where in the one that is being read. Kept in ingest's checkpoint,
//! so that one begun is gone on with after a crash.

use serde::{Deserialize, Serialize};

/// Finished ones that are remembered, for who waits for them, and so that none is done twice.
const FINISHED_MAX: usize = 32;
/// Bytes of all that waits at once, ids and names: it is kept in one record.
const WAITING_BYTES_MAX: usize = 200_000;
/// Failures that are kept of one snapshot, and bytes of each one's reason.
const FAILURES_MAX: usize = 20;
const REASON_BYTES_MAX: usize = 300;

/// All snapshots of one ingest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// In the order in which they were wished for; the first is under way.
    #[serde(default)]
    pub waiting: Vec<Snapshot>,
    /// The last ones that came to their end.
    #[serde(default)]
    pub finished: Vec<Finished>,
}

/// One that is not finished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whose.
    pub id: String,
    /// Tables left, `schema.table`; the first is under way.
    pub tables: Vec<String>,
    /// The key of its last published row.
    #[serde(default)]
    pub after: Option<Vec<String>>,
    /// Rows published so far, over all its tables.
    pub rows: u64,
    /// Rows of the table under way: so far, and in all as the database guesses.
    pub table_rows: u64,
    /// See `table_rows`.
    pub table_rows_estimated: u64,
    /// Tables that could not be read, and why.
    #[serde(default)]
    pub failed: Vec<(String, String)>,
}

/// One that is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Whose.
    pub id: String,
    /// Rows published.
    pub rows: u64,
    /// Whether it was given up on request.
    pub stopped: bool,
    /// Tables that could not be read, and why.
    #[serde(default)]
    pub failed: Vec<(String, String)>,
}

impl Snapshot {
    fn fail(&mut self, table: &str, mut why: String) {
        if self.failed.len() < FAILURES_MAX {
            why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
            self.failed.push((table.to_owned(), why));
        }
    }
}

impl Snapshots {
    /// Takes a wish in; one that is known already changes nothing. `false`: too much waits, and this one has failed.
    pub fn wish(&mut self, id: &str, tables: &[String]) -> bool {
        let known = self.waiting.iter().any(|one| one.id == id) || self.finished.iter().any(|one| one.id == id);
        if known {
            return true;
        }
        let bytes = |id: &str, tables: &[String]| id.len() + tables.iter().map(String::len).sum::<usize>();
        let waiting: usize = self.waiting.iter().map(|one| bytes(&one.id, &one.tables)).sum();
        if waiting + bytes(id, tables) > WAITING_BYTES_MAX {
            let mut refused = Snapshot { id: id.to_owned(), ..Snapshot::default() };
            refused.fail("every table", "too many tables wait for a snapshot already".to_owned());
            self.finish(refused, false);
            return false;
        }
        let mut left: Vec<String> = Vec::new();
        for table in tables {
            if !left.contains(table) {
                left.push(table.clone());
            }
        }
        self.waiting.push(Snapshot { id: id.to_owned(), tables: left, ..Snapshot::default() });
        self.settle();
        true
    }

    /// The tables left are read from their beginnings: in another history, rows may be others.
    pub fn begin_again(&mut self) {
        for one in &mut self.waiting {
            (one.after, one.table_rows) = (None, 0);
        }
    }

    /// Gives up one, or all.
    pub fn stop(&mut self, id: Option<&str>) {
        let wanted = |one: &mut Snapshot| id.is_none_or(|id| one.id == id);
        for one in self.waiting.extract_if(.., wanted).collect::<Vec<_>>() {
            self.finish(one, true);
        }
    }

    /// The table under way, and the key after which it goes on.
    pub fn table(&self) -> Option<(&str, Option<&[String]>)> {
        let first = self.waiting.first()?;
        Some((first.tables.first()?, first.after.as_deref()))
    }

    /// A chunk of the table under way has been published. `last`: the key of its last row; `None` where there is no more.
    pub fn published(&mut self, rows: u64, estimated: u64, last: Option<Vec<String>>) {
        let Some(first) = self.waiting.first_mut() else { return };
        first.rows += rows;
        first.table_rows += rows;
        first.table_rows_estimated = estimated;
        match last {
            Some(key) => first.after = Some(key),
            None => self.next_table(),
        }
    }

    /// The table under way can't be read.
    pub fn fail(&mut self, why: String) {
        if let Some(first) = self.waiting.first_mut()
            && let Some(table) = first.tables.first().cloned()
        {
            first.fail(&table, why);
        }
        self.next_table();
    }

    fn next_table(&mut self) {
        if let Some(first) = self.waiting.first_mut() {
            if !first.tables.is_empty() {
                first.tables.remove(0);
            }
            (first.after, first.table_rows, first.table_rows_estimated) = (None, 0, 0);
        }
        self.settle();
    }

    fn settle(&mut self) {
        while self.waiting.first().is_some_and(|one| one.tables.is_empty()) {
            let one = self.waiting.remove(0);
            self.finish(one, false);
        }
    }

    fn finish(&mut self, one: Snapshot, stopped: bool) {
        self.finished.push(Finished { id: one.id, rows: one.rows, stopped, failed: one.failed });
        let surplus = self.finished.len().saturating_sub(FINISHED_MAX);
        self.finished.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_one_after_the_other() {
        let mut snapshots = Snapshots::default();
        assert!(snapshots.wish("a", &["s.t".to_owned(), "s.u".to_owned(), "s.t".to_owned()]));
        assert!(snapshots.wish("a", &["s.v".to_owned()]), "the same wish again");
        assert_eq!(snapshots.table(), Some(("s.t", None)));
        snapshots.published(2, 3, Some(vec!["k".to_owned()]));
        assert_eq!(snapshots.table(), Some(("s.t", Some(&["k".to_owned()][..]))));
        snapshots.published(1, 3, None);
        assert_eq!(snapshots.table(), Some(("s.u", None)));
        snapshots.fail("no key".to_owned());
        assert_eq!(snapshots.table(), None);
        let failed = vec![("s.u".to_owned(), "no key".to_owned())];
        let finished = Finished { id: "a".to_owned(), rows: 3, stopped: false, failed };
        assert_eq!(snapshots.finished, [finished]);
        snapshots.wish("b", &["s.t".to_owned()]);
        snapshots.wish("c", &["s.t".to_owned()]);
        snapshots.stop(Some("b"));
        assert_eq!((snapshots.waiting.len(), snapshots.finished.len()), (1, 2));
        snapshots.stop(None);
        let many: Vec<String> = (0..1_000).map(|n| format!("s.{n:0>300}")).collect();
        assert!(!snapshots.wish("d", &many), "more than a record takes");
        let last = snapshots.finished.pop().expect("a word for who waits");
        assert_eq!((last.id.as_str(), last.failed.len()), ("d", 1));
        assert!(snapshots.waiting.is_empty() && snapshots.finished.iter().skip(1).all(|one| one.stopped));
    }
}
