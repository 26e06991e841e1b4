//! Processes of this machine, found by `/proc`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys;

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A process of this machine. The time of its start tells it from a later one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pid: u32,
    started: u64,
}

impl Identity {
    /// The process that has this id now, unless it has ended.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|(identity, _)| identity)
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    pub(crate) fn signal(&self, signal: i32) {
        if self.is_alive() {
            sys::send_signal(self.pid, signal);
        }
    }

    pub(crate) fn kill(&self) {
        self.signal(libc::SIGKILL);
    }
}

/// Waits until none of the processes is left. False: the deadline came first.
pub(crate) fn wait_gone(processes: &[Identity], deadline: Instant) -> bool {
    while processes.iter().any(Identity::is_alive) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
    true
}

/// All that a process has spawned, directly or not.
pub(crate) fn offspring(pid: u32) -> Vec<Identity> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<(Identity, u32)> = pids.filter_map(stat).collect();
    let mut found: Vec<Identity> = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for (child, _) in all.iter().filter(|(_, its_parent)| *its_parent == parent) {
            found.push(*child);
            parents.push(child.pid);
        }
    }
    found
}

/// A process and its parent's id. `None`: there is no such process, or it has ended and waits to be collected.
fn stat(pid: u32) -> Option<(Identity, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself contain spaces and parentheses.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let (state, parent, started) = (fields.first()?, fields.get(1)?, fields.get(19)?);
    if matches!(*state, "Z" | "X") {
        return None;
    }
    let identity = Identity { pid, started: started.parse().ok()? };
    Some((identity, parent.parse().ok()?))
}
