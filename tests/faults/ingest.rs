//! Ingest as a process of its own, and what it says.

use crate::harness::process::{is_alive, send};
use crate::harness::{Program, until};
use crate::shop::WAIT_MAX;

/// What ingest says when a connection broke, and it will try again.
pub const INTERRUPTED: &str = "ingest was interrupted";
pub const STANDING_BY: &str = "standing by";
pub const STREAMING: &str = " streaming";
pub const NEW_EPOCH: &str = "a new epoch begins";
const LINES_SHOWN: usize = 30;

/// Ingest, as a process of its own. Where a test fails, its last lines are shown.
pub struct Ingest {
    program: Program,
}

impl Ingest {
    pub fn of(program: Program) -> Self {
        Ingest { program }
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    pub fn send(&self, signal: i32) {
        send(self.pid(), signal);
    }

    /// How often it has said something.
    pub fn said(&self, what: &str) -> usize {
        self.program.text().lines().filter(|line| line.contains(what)).count()
    }

    /// Waits until it has said something more often than so many times.
    pub fn says(&self, what: &str, more_than: usize) {
        until(&format!("ingest to say `{what}`"), WAIT_MAX, || (self.said(what) > more_than).then_some(()));
    }

    pub fn must_live(&self) {
        assert!(is_alive(self.pid()), "ingest ended by itself");
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&self) {
        self.must_live();
        self.send(libc::SIGKILL);
        let pid = self.pid();
        until("a killed process to be gone", WAIT_MAX, || (!is_alive(pid)).then_some(()));
    }

    /// Asks it to end, which it must do in order.
    pub fn stop(&mut self) {
        self.must_live();
        self.program.terminate();
        let code = self.program.exit_code(WAIT_MAX);
        assert_eq!(code, Some(0), "an end that was asked for is no failure");
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let text = self.program.text();
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            eprintln!("--- the last lines of ingest {}:\n{}\n---", self.pid(), last.join("\n"));
        }
    }
}
