//! Readers whose hits are counted, while what they read is made anew.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::harness::until;
use crate::shop::Page;
use crate::site::{LIMIT, PRODUCTS, Site, path};
use crate::warming::MORE;

/// Reads whose hits are counted together.
const READS: usize = 1_500;
/// Of the hit ratio before, at least so much while a view is made anew and readers are switched.
pub const KEPT_MIN: f64 = 0.9;

#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    reads: AtomicUsize,
    hits: AtomicUsize,
    gateway: Mutex<String>,
}

impl Counts {
    fn gateway(&self) -> MutexGuard<'_, String> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads any product, as shoppers do, and counts whom a tier answers. It ends when this is dropped.
pub struct Readers {
    counts: Arc<Counts>,
    last: std::cell::Cell<(usize, usize)>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    pub fn start(site: &Site) -> Self {
        let gateway = Mutex::new(site.shop.endpoints().gateway.clone());
        let counts = Arc::new(Counts { gateway, ..Counts::default() });
        let all = counts.clone();
        let thread = std::thread::spawn(move || {
            while !all.stop.load(Ordering::SeqCst) {
                let n = fastrand::usize(0..PRODUCTS + MORE);
                let product = if n < PRODUCTS { format!("P{n}") } else { format!("W{}", n - PRODUCTS) };
                let gateway = all.gateway().clone();
                let page = Page::get(&gateway, &path(&product)).filter(Page::is_ok);
                let is_hit = page.is_some_and(|page| page.header("lockstep-tier") == Some("l2"));
                all.hits.fetch_add(usize::from(is_hit), Ordering::SeqCst);
                all.reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        Readers { counts, last: Default::default(), thread: Some(thread) }
    }

    /// From now on they read at another gateway.
    pub fn switch_to(&self, gateway: &str) {
        gateway.clone_into(&mut self.counts.gateway());
    }

    /// The ratio since it was last asked for, with enough reads from now on.
    pub fn ratio(&self) -> f64 {
        let counted = || (self.counts.reads.load(Ordering::SeqCst), self.counts.hits.load(Ordering::SeqCst));
        let now = counted().0;
        until("reads", LIMIT, || (counted().0 >= now + READS).then_some(()));
        let ((reads, hits), (reads_before, hits_before)) = (counted(), self.last.get());
        self.last.set((reads, hits));
        (hits - hits_before) as f64 / (reads - reads_before) as f64
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a reader");
        }
    }
}
