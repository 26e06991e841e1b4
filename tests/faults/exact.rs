//! Whether the log is exactly what the database did. Pure, so that it can be shown to find what is wrong.

use std::collections::{BTreeSet, HashMap};

use lockstep_schemas::position::Lsn;
use lockstep_schemas::progress::Progress;

use crate::log::{Place, Record, Said};
use crate::reading::Taken;
use crate::tables::{Commit, Contents, GROUPS, RowChange, RowKey};

/// Of each kind of finding, so many are told.
const TOLD_MAX: usize = 5;

/// What the log may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nothing: one epoch, from the first commit to the last.
    All,
    /// What was committed before the newest epoch began.
    NewestEpoch,
}

/// What was counted on the way.
#[derive(Debug, Default)]
pub struct Counted {
    pub changes: usize,
    /// Records that a reader passes over: it has had them.
    pub repeated: usize,
    pub commits: usize,
    /// Rows that were compared.
    pub rows: usize,
    pub epoch: u16,
}

/// The log, the writer's account, the tables, and what is wrong between them.
pub struct Examination<'a> {
    reach: Reach,
    pub records: &'a [Record],
    pub counted: Counted,
    pub findings: Vec<String>,
}

impl<'a> Examination<'a> {
    pub fn of(
        records: &'a [Record],
        progress: &[Progress],
        commits: &[Commit],
        tables: &Contents,
        reach: Reach,
    ) -> Self {
        let mut this = Examination { reach, records, counted: Counted::default(), findings: Vec::new() };
        let taken = this.read_in_order();
        this.epoch_is_announced();
        let covered = this.commits_are_whole(&taken, commits);
        this.rows_are_equal(&taken.contents, tables, covered);
        this.progress_is_true(&taken, progress);
        this
    }

    pub fn finds(&mut self, kind: &str, what: impl FnOnce() -> String) {
        if self.findings.iter().filter(|known| known.starts_with(kind)).count() < TOLD_MAX {
            self.findings.push(format!("{kind}: {}", what()));
        }
    }

    /// In each partition, the newest epoch's first record says that it begins.
    fn epoch_is_announced(&mut self) {
        let epoch = self.counted.epoch;
        let mut announced: BTreeSet<Place> = BTreeSet::new();
        for record in self.records {
            match record.said {
                Said::Epoch(position) if position.epoch == epoch => drop(announced.insert(record.place)),
                Said::Change(position, ..) if position.epoch == epoch && !announced.contains(&record.place) => {
                    self.finds("an epoch that was not announced", || format!("{record:?}"));
                }
                _ => {}
            }
        }
        let all = GROUPS.len() * crate::shop::PARTITIONS as usize;
        if announced.len() != all {
            self.finds("an epoch that was not announced", || format!("{epoch}, but in {announced:?}"));
        }
    }

    /// The commits of the newest epoch are the writer's last ones, each whole; returns them.
    fn commits_are_whole<'c>(&mut self, taken: &Taken, commits: &'c [Commit]) -> &'c [Commit] {
        let epoch = self.counted.epoch;
        let logged: Vec<_> = taken.commits.range((epoch, Lsn(0))..=(epoch, Lsn(u64::MAX))).collect();
        self.counted.commits = logged.len();
        let must = self.must_be_there(commits);
        let by_xid: HashMap<u32, &Commit> = commits.iter().map(|commit| (commit.xid, commit)).collect();
        let in_log: BTreeSet<u32> = logged.iter().map(|(_, (xid, _))| *xid).collect();
        for missing in must.iter().filter(|commit| !in_log.contains(&commit.xid)) {
            self.finds("a commit is missing", || format!("{} with {} rows", missing.xid, missing.changes.len()));
        }
        for ((_, lsn), (xid, rows)) in &logged {
            let Some(commit) = by_xid.get(xid) else {
                self.finds("a commit that nobody made", || format!("{xid} at {lsn}"));
                continue;
            };
            if !rows.keys().copied().eq(1..=commit.changes.len() as u32) {
                self.finds("a row is missing", || format!("{xid}: {} of {}", rows.len(), commit.changes.len()));
            } else if !rows.values().eq(&commit.changes) {
                self.finds("other rows", || format!("{xid}: {rows:?}, not {:?}", commit.changes));
            }
        }
        let xids = logged.iter().map(|(_, (xid, _))| *xid);
        let last = &commits[commits.len().saturating_sub(logged.len())..];
        if !xids.eq(last.iter().map(|commit| commit.xid)) {
            self.finds("another order", || format!("{} commits of epoch {epoch} are not the last ones", logged.len()));
        }
        last
    }

    /// The commits that the newest epoch may not lack.
    fn must_be_there<'c>(&mut self, commits: &'c [Commit]) -> &'c [Commit] {
        let epoch = self.counted.epoch;
        if self.reach == Reach::All && epoch == 1 {
            return commits;
        }
        if self.reach == Reach::All {
            self.finds("another epoch", || format!("{epoch}"));
        }
        let begins = self.records.iter().filter_map(|record| match record.said {
            Said::Epoch(position) if position.epoch == epoch => Some(position.lsn.0),
            _ => None,
        });
        let begins = begins.min().unwrap_or_default();
        &commits[commits.partition_point(|commit| commit.after < begins)..]
    }

    /// Every row that these commits touched is in the table as the log has it.
    fn rows_are_equal(&mut self, log: &Contents, tables: &Contents, commits: &[Commit]) {
        let touched: BTreeSet<RowKey> = commits.iter().flat_map(|commit| &commit.changes).map(RowChange::key).collect();
        for key in &touched {
            if log.get(key) != tables.get(key) {
                self.finds("another row", || {
                    format!("{key}: {:?} in the log, {:?} in the table", log.get(key), tables.get(key))
                });
            }
        }
        self.counted.rows = touched.len();
        if self.reach == Reach::All && log.len() != tables.len() {
            self.finds("another row", || format!("{} rows in the log, {} in the tables", log.len(), tables.len()));
        }
    }

    /// What progress calls complete lies before the offsets that it names.
    fn progress_is_true(&mut self, taken: &Taken, progress: &[Progress]) {
        for said in progress {
            for (place, first) in &taken.first {
                let next = said.next_of(GROUPS[place.0], place.1 as i32).unwrap_or_default();
                let before = first.partition_point(|(position, _)| *position < said.position);
                // First comes are in order of position and of offset alike.
                let Some((position, offset)) = before.checked_sub(1).map(|at| first[at]) else { continue };
                if position.epoch == said.position.epoch && offset >= next {
                    self.finds("progress beyond the log", || format!("{position} at {offset} of {place:?}: {said:?}"));
                }
            }
        }
    }
}
