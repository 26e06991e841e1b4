//! Processes, as the tests see them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// No process.
pub const NONE: [u32; 0] = [];

/// The processes that run in a folder: all servers of a stack do, and so do their children.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let runs_there = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(runs_there).collect()
}

/// This test binary again, for one ignored test.
pub fn again(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this binary"));
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command
}

pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}
