//! The end of every case: whatever happened, the log is exactly what the database did.

use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::progress::Progress;

use crate::exact::{Counted, Examination, Reach};
use crate::log::{Log, Place, Record, Said};
use crate::shop::{PARTITIONS, Shop};
use crate::tables::{Commit, Contents, GROUPS, RowChange, RowKey, TABLES};
use crate::writer::{Writer, read_tables};

/// Lets the writer end, waits for ingest, and examines everything.
pub fn all_is_exact(shop: &Shop, writer: Writer, changes_min: usize, reach: Reach) -> Counted {
    let written = writer.finish(changes_min);
    shop.until_complete();
    let tables = read_tables(shop);
    assert!(tables == written.contents, "the writer's own account differs from the tables");
    let log = Log::read(shop);
    let found = Examination::of(&log.records, &log.progress, &written.commits, &tables, reach);
    let changes: usize = written.commits.iter().map(|commit| commit.changes.len()).sum();
    eprintln!("{changes} changes in {} commits: {:?}", written.commits.len(), found.counted);
    assert!(changes >= changes_min);
    assert!(found.findings.is_empty(), "\n{}", found.findings.join("\n"));
    found.counted
}

/// A small log as it must be: two commits, the second of two rows, in one partition.
fn small() -> (Vec<Record>, Vec<Commit>, Contents) {
    let key = |part| RowKey(TABLES[0], 1, part);
    let changes = [RowChange::Insert(key(1), 1), RowChange::Update(key(1), 2), RowChange::Insert(key(2), 3)];
    let commit = |xid, lsn: u64, changes: &[RowChange]| Commit { xid, after: lsn - 1, changes: changes.to_vec() };
    let commits = vec![commit(7, 10, &changes[..1]), commit(8, 20, &changes[1..])];
    let at = |lsn, ordinal| Position { epoch: 1, lsn: Lsn(lsn), ordinal };
    let places = (0..GROUPS.len()).flat_map(|group| (0..PARTITIONS).map(move |partition| (group, partition)));
    let record = |place: Place, offset, said| Record { place, offset, said };
    let mut records: Vec<Record> = places.map(|place| record(place, 0, Said::Epoch(at(5, 0)))).collect();
    let rows = [(at(10, 1), 7), (at(20, 1), 8), (at(20, 2), 8)].into_iter().zip(changes);
    let rows =
        (1..).zip(rows).map(|(offset, ((at, xid), change))| record((0, 0), offset, Said::Change(at, xid, change)));
    records.splice(1..1, rows);
    let mut contents = Contents::new();
    changes.iter().for_each(|change| change.apply(&mut contents));
    (records, commits, contents)
}

fn check(spoil: impl FnOnce(&mut Vec<Record>, &mut Vec<Commit>, &mut Contents), finding: &str) {
    let (mut records, mut commits, mut contents) = small();
    spoil(&mut records, &mut commits, &mut contents);
    let found = Examination::of(&records, &[], &commits, &contents, Reach::All).findings;
    let as_expected =
        if finding.is_empty() { found.is_empty() } else { found.iter().any(|one| one.starts_with(finding)) };
    assert!(as_expected, "{finding}: {found:?}");
}

fn without<T>(all: &mut Vec<T>, at: usize) {
    all.remove(at);
}

#[test]
fn what_is_wrong_is_found() {
    check(|_, _, _| {}, "");
    // A suffix that comes twice is no fault; neither is a zombie's, which ends before the newest.
    check(|records, _, _| records.splice(4..4, records[1..4].to_vec()).for_each(drop), "");
    check(|records, _, _| records.insert(4, records[1].clone()), "");
    check(|records, _, _| without(records, 1), "a commit is missing");
    check(|records, _, _| without(records, 2), "a row is missing");
    check(|records, _, _| without(records, 3), "another row");
    check(|records, _, _| records.swap(1, 2), "late");
    check(|records, _, _| records[2].said = records[1].said.clone(), "a row is missing");
    check(|records, _, _| without(records, 4), "an epoch that was not announced");
    check(|_, commits, _| without(commits, 0), "a commit that nobody made");
    check(|_, commits, _| commits.swap(0, 1), "another order");
    check(|_, _, contents| contents.clear(), "another row");
    let other = |records: &mut Vec<Record>| {
        let mut again = records[2].clone();
        if let Said::Change(_, _, change) = &mut again.said {
            *change = RowChange::Delete(change.key());
        }
        records.insert(4, again);
    };
    check(|records, _, _| other(records), "a position with two contents");
}

#[test]
fn progress_that_says_too_much_is_found() {
    let (records, commits, contents) = small();
    let said = |next: i64| Progress {
        position: Position { epoch: 1, lsn: Lsn(20), ordinal: 0 },
        at: 0,
        next: GROUPS.iter().map(|group| (group.to_string(), vec![next; PARTITIONS as usize])).collect(),
    };
    let findings = |next| Examination::of(&records, &[said(next)], &commits, &contents, Reach::All).findings.len();
    // The commit before it lies at offset 1.
    assert_eq!((findings(2), findings(1)), (0, 1));
}
