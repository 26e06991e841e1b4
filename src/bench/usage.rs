//! What a process has cost, by the kernel's account of it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;

use anyhow::{Context as _, Result};

/// The kernel counts in hundredths of a second, on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of the children that this process has waited for.
pub(super) fn children_cpu_seconds() -> Result<f64> {
    ticks("self", 13)
}

/// CPU seconds of a process, in whole hundredths, those threads included that have ended.
pub(super) fn coarse_cpu_seconds(process: &str) -> Result<f64> {
    ticks(process, 11)
}

/// Two figures of a process's account, in user mode and in the kernel: the two after so many behind its name.
fn ticks(process: &str, behind: usize) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).context("read a process's account")?;
    // The name may hold anything, but ends with the last parenthesis.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let figures: Vec<f64> = rest.split_whitespace().skip(behind).take(2).filter_map(|text| text.parse().ok()).collect();
    Ok(figures.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// What each thread of a process has cost, to the nanosecond for those that wait. One that has ended has no account any more.
pub(super) struct Account {
    process: String,
    threads: HashMap<OsString, f64>,
}

impl Account {
    /// The account as it is now, of `self` or of a process id.
    pub fn of(process: &str) -> Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).context("read a process's threads")?;
        let thread = |task: fs::DirEntry| Some((task.file_name(), on_cpu(&task.path().join("schedstat"))?));
        Ok(Account { process: process.to_owned(), threads: tasks.flatten().filter_map(thread).collect() })
    }

    /// CPU seconds of the threads that live.
    pub fn seconds(&self) -> f64 {
        self.threads.values().sum::<f64>() / 1e9
    }

    /// CPU seconds since this account was taken, of the threads that live now.
    pub fn seconds_since(&self) -> Result<f64> {
        let now = Account::of(&self.process)?;
        let since = now.threads.iter().map(|(thread, spent)| spent - self.threads.get(thread).unwrap_or(&0.0));
        Ok(since.sum::<f64>() / 1e9)
    }
}

/// CPU seconds of a process's threads that live: `self`, or a process id.
pub(super) fn cpu_seconds(process: &str) -> Result<f64> {
    Account::of(process).map(|account| account.seconds())
}

/// CPU seconds of the thread that asks, as of the last tick of the clock: of less than some hundredths it says little.
pub(super) fn thread_cpu_seconds() -> Result<f64> {
    let nanoseconds = on_cpu("/proc/thread-self/schedstat".as_ref()).context("read this thread's account")?;
    Ok(nanoseconds / 1e9)
}

fn on_cpu(account: &std::path::Path) -> Option<f64> {
    fs::read_to_string(account).ok()?.split_whitespace().next()?.parse().ok()
}

/// The most memory that a process has held, in MB; `None` once it has gone.
pub(in crate::bench) fn rss_mb_max(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kilobytes| kilobytes / 1024.0)
}
