//! The one who writes: a transaction after the other, at a steady pace, while servers come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::until;
use crate::pen::Pen;
use crate::shop::{Shop, WAIT_MAX};
use crate::tables::{Commit, Contents, RowChange, RowKey, TABLES, Table};

/// Changes a second, while faults happen.
const PACE: u32 = 1_500;
/// One transaction of so many is large.
const LARGE_OF: usize = 60;
const LARGE: std::ops::Range<usize> = 200..500;
const ENTITIES: i64 = 300;
const PARTS: i64 = 6;

/// A writer at work.
pub struct Writer {
    written: Arc<AtomicUsize>,
    /// It stops once it has written so many changes; 0: not yet.
    enough: Arc<AtomicUsize>,
    thread: JoinHandle<Written>,
}

/// All that was committed, in order, and what the tables must hold.
#[derive(Default)]
pub struct Written {
    pub commits: Vec<Commit>,
    pub contents: Contents,
}

impl Writer {
    pub fn start(shop: &Shop) -> Self {
        let (written, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pen = Pen::of(&shop.stack.endpoints().database_url);
        let (counted, stop) = (written.clone(), enough.clone());
        // Of its own, so that a test that fails leaves nothing that stumbles over the end of another.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = thread::spawn(move || runtime.block_on(write(pen, &counted, &stop)));
        Writer { written, enough, thread }
    }

    /// Changes committed so far.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Waits until so many more changes have been committed.
    pub fn writes(&self, more: usize) {
        let goal = self.written() + more;
        let limit = WAIT_MAX + Duration::from_secs((more / PACE as usize) as u64);
        until("the shop to go on", limit, || (self.written() >= goal || self.thread.is_finished()).then_some(()));
        assert!(self.written() >= goal, "the writer has ended");
    }

    /// Waits for what the writer writes in so many seconds at its pace.
    pub fn writes_for(&self, seconds: u32) {
        self.writes((seconds * PACE) as usize);
    }

    /// Has it write on, at full speed, until there are this many changes; gives all.
    pub fn finish(self, at_least: usize) -> Written {
        self.enough.store(at_least, Ordering::SeqCst);
        self.thread.join().expect("a writer that goes on")
    }
}

async fn write(mut pen: Pen, counted: &AtomicUsize, enough: &AtomicUsize) -> Written {
    let mut written = Written::default();
    let (began, mut count) = (Instant::now(), 0_usize);
    for n in 0.. {
        let goal = enough.load(Ordering::SeqCst);
        if goal > 0 && count >= goal {
            break;
        }
        let planned = plan(&written.contents, n);
        if let Some(commit) = pen.commit(planned).await {
            commit.changes.iter().for_each(|change| change.apply(&mut written.contents));
            count += commit.changes.len();
            counted.store(count, Ordering::SeqCst);
            written.commits.push(commit);
        }
        if goal == 0 {
            let due = began + Duration::from_secs(1) * u32::try_from(count).expect("a count") / PACE;
            tokio::time::sleep_until(due.into()).await;
        }
    }
    written
}

/// The changes of the n-th transaction. The first is never a delete: its number tells whether all were committed.
fn plan(contents: &Contents, n: i64) -> Vec<RowChange> {
    let size = if fastrand::usize(..LARGE_OF) == 0 { fastrand::usize(LARGE) } else { fastrand::usize(1..7) };
    let one_table = (size >= LARGE.start).then(any_table);
    // What this transaction has changed so far; `None`: deleted.
    let mut seen: BTreeMap<RowKey, Option<i64>> = BTreeMap::new();
    let mut changes = Vec::with_capacity(size);
    for at in 0..size as i64 {
        let key = RowKey(one_table.unwrap_or_else(any_table), fastrand::i64(0..ENTITIES), fastrand::i64(0..PARTS));
        let known = seen.get(&key).copied().unwrap_or_else(|| contents.get(&key).copied());
        // Numbers of a transaction lie side by side, and no two changes share one.
        let number = n * 1_000 + at;
        let change = match known {
            Some(_) if at > 0 && fastrand::u8(..4) == 0 => RowChange::Delete(key),
            Some(_) => RowChange::Update(key, number),
            None => RowChange::Insert(key, number),
        };
        let is_delete = matches!(change, RowChange::Delete(_));
        seen.insert(key, (!is_delete).then_some(number));
        changes.push(change);
    }
    changes
}

fn any_table() -> Table {
    TABLES[fastrand::usize(..TABLES.len())]
}

/// The tables as they are.
pub fn read_tables(shop: &Shop) -> Contents {
    let mut contents = Contents::new();
    for table in TABLES {
        let Table(name, column, _) = table;
        let rows = shop.sql(&format!("SELECT {column}, part, n FROM {name}"));
        for row in rows.lines() {
            let numbers: Vec<i64> = row.split('|').map(|number| number.parse().expect("a number")).collect();
            contents.insert(RowKey(table, numbers[0], numbers[1]), numbers[2]);
        }
    }
    contents
}
