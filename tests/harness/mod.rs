//! What the tests of the program share: it is run as a user would run it, and every wait has an end.

#![allow(dead_code, reason = "each of the test binaries uses its part")]
#![allow(clippy::disallowed_methods, reason = "no runtime here: a thread may sleep")]

pub mod cut;
pub mod kafka;
pub mod kafka_tool;
pub mod lockstep;
pub mod process;
pub mod program;

use std::thread;
use std::time::{Duration, Instant};

pub use crate::harness::lockstep::Lockstep;
#[allow(unused_imports, reason = "each of the test binaries uses its part")]
pub use crate::harness::program::Program;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}
