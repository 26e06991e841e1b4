//! A running program of the stack, together with the children that it has made itself.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Failed, StackError};
use crate::identity::{Identity, offspring, wait_gone};
use crate::spawn::Launch;
use crate::sys;

/// How long the programs of a stack may take to end by themselves before they are killed.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A spawned program. Dropping it stops it and all that it has spawned.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stop_signal: i32,
    /// What it had spawned when it was told to stop.
    offspring: Vec<Identity>,
    stopped: bool,
}

impl Process {
    pub(crate) fn new(child: Child, launch: &Launch) -> Self {
        Self {
            name: launch.name.clone(),
            child,
            log: launch.log.clone(),
            stop_signal: launch.stop_signal,
            offspring: Vec::new(),
            stopped: false,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the program to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Waits until the program serves, as `ready` finds by asking it.
    pub(crate) fn wait_until(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), StackError> {
        let deadline = Instant::now() + limit;
        loop {
            let is_ready = ready();
            let what = match self.wait(Duration::ZERO) {
                Some(status) => format!("ended with {status} before it served"),
                None if is_ready => return Ok(()),
                None if Instant::now() > deadline => {
                    format!("did not serve within {} s", limit.as_secs())
                }
                None => {
                    thread::sleep(POLL_INTERVAL);
                    continue;
                }
            };
            return Err(Failed::new(&self.name, what, &self.log).into());
        }
    }

    /// Asks the program to end, in the way that ends its children too, without waiting.
    pub(crate) fn begin_stop(&mut self) {
        self.begin(self.stop_signal);
    }

    /// SIGKILL for the program and its children, and waits for them to be gone.
    pub(crate) fn kill(mut self) {
        self.begin(libc::SIGKILL);
        for child in &self.offspring {
            child.kill();
        }
        self.finish_stop(Instant::now() + STOP_LIMIT);
    }

    fn begin(&mut self, signal: i32) {
        // Once it has been waited for, its id may be another's.
        if self.wait(Duration::ZERO).is_none() {
            self.offspring = offspring(self.pid());
            sys::send_signal(self.pid(), signal);
        }
    }

    /// Waits for what [`Self::begin_stop`] began; what is left at the deadline is killed.
    pub(crate) fn finish_stop(&mut self, deadline: Instant) {
        self.stopped = true;
        if self.wait(deadline.saturating_duration_since(Instant::now())).is_none() {
            // Both fail only where the child is gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if !wait_gone(&self.offspring, deadline) {
            self.offspring.iter().for_each(Identity::kill);
            wait_gone(&self.offspring, Instant::now() + STOP_LIMIT);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.stopped {
            self.begin_stop();
            self.finish_stop(Instant::now() + STOP_LIMIT);
        }
    }
}
