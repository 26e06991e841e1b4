//! Writers and readers while something breaks: prices only grow, so that whoever is shown a smaller one went backwards.

#![allow(clippy::disallowed_methods, reason = "no runtime here: a thread may sleep")]

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::harness::until;
use crate::shop::{PSQL, Page};
use crate::site::{PRODUCTS, Site, path};

const READERS: usize = 3;
/// A slow machine beside other builds.
const FLOW_LIMIT: Duration = Duration::from_secs(300);
/// Rows of one commit, and commits of one statement: between them the database may go away and come back.
const ROWS: usize = 8;
const COMMITS: usize = 50;
/// Changes that may have been written beyond what was read. A writer that nothing holds up keeps every product changing
/// faster than any entry can be filled, and then readers wait for the database, each in turn.
const AHEAD_MAX: usize = 1_200;
const AHEAD_WAIT_MAX: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    changes: AtomicUsize,
    reads: AtomicUsize,
    failed_reads: AtomicUsize,
    backwards: Mutex<Vec<String>>,
}

impl Shared {
    /// Whether what is written is far beyond what readers asked for. One who got no answer has asked as well.
    fn is_ahead(&self) -> bool {
        let asked = self.reads.load(Ordering::SeqCst) + self.failed_reads.load(Ordering::SeqCst);
        self.changes.load(Ordering::SeqCst) > asked + AHEAD_MAX
    }
}

/// A flow of changes and reads. It ends when this is dropped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(site: &Site) -> Self {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        let (all, database) = (shared.clone(), site.shop.database_url().to_owned());
        threads.push(std::thread::spawn(move || write(&all, &database)));
        for _ in 0..READERS {
            let (all, gateway) = (shared.clone(), site.shop.endpoints().gateway.clone());
            threads.push(std::thread::spawn(move || read(&all, &gateway)));
        }
        Load { shared, threads }
    }

    /// Waits until so many more changes and reads have flowed.
    pub fn flowed(&self, count: usize) {
        let counted = || [&self.shared.changes, &self.shared.reads].map(|count| count.load(Ordering::SeqCst));
        let [changes, reads] = counted();
        until("changes and reads", FLOW_LIMIT, || {
            let [now_changes, now_reads] = counted();
            (now_changes >= changes + count && now_reads >= reads + count).then_some(())
        });
    }

    /// Ends it: changes, reads, reads without an answer, and what was shown backwards.
    pub fn end(mut self) -> (usize, usize, usize, Vec<String>) {
        self.stop();
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        let backwards = std::mem::take(&mut *self.shared.backwards.lock().unwrap_or_else(PoisonError::into_inner));
        (count(&self.shared.changes), count(&self.shared.reads), count(&self.shared.failed_reads), backwards)
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer or reader");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Each commit changes some products, far apart.
fn write(shared: &Shared, database: &str) {
    let mut from = 0;
    while !shared.stop.load(Ordering::SeqCst) {
        // Where readers get no answer, something changes all the same.
        let since = Instant::now();
        while shared.is_ahead() && since.elapsed() < AHEAD_WAIT_MAX && !shared.stop.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let statement = format!(
            "DO $$ BEGIN FOR c IN {from}..{from} + {COMMITS} - 1 LOOP \
             UPDATE prices SET price_pence = price_pence + 1 WHERE product_id IN \
             (SELECT 'P' || (c * 7 + r * 5) % {PRODUCTS} FROM generate_series(1, {ROWS}) AS r); COMMIT; END LOOP; END $$"
        );
        let done =
            Command::new(PSQL).args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", &statement]).output();
        if done.is_ok_and(|done| done.status.success()) {
            shared.changes.fetch_add(ROWS * COMMITS, Ordering::SeqCst);
        }
        from += COMMITS;
    }
}

/// What one reader is shown of a product by a tier never becomes smaller.
fn read(shared: &Shared, gateway: &str) {
    let mut shown: HashMap<(usize, String), i64> = HashMap::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let n = fastrand::usize(0..PRODUCTS);
        let page = Page::get(gateway, &path(&format!("P{n}"))).filter(Page::is_ok);
        let Some((page, price)) = page.and_then(|page| page.number("price_pence").map(|price| (page, price))) else {
            shared.failed_reads.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        shared.reads.fetch_add(1, Ordering::SeqCst);
        let by = page.header("lockstep-tier").unwrap_or_default().to_owned();
        let newest = shown.entry((n, by)).or_insert(price);
        if price < *newest {
            let mut backwards = shared.backwards.lock().unwrap_or_else(PoisonError::into_inner);
            backwards
                .push(format!("P{n}: {price} after {newest}, at {}", page.header("lockstep-position").unwrap_or("?")));
        }
        *newest = price;
    }
}
