//! What a process has cost, by the kernel's account of it.

use std::fs;

use anyhow::{Context as _, Result};

/// The kernel counts in hundredths of a second, on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of the children that this process has waited for.
pub(super) fn children_cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    // The name may hold anything, but ends with the last parenthesis; the two figures are the 14th and 15th after it.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let figures: Vec<f64> = rest.split_whitespace().skip(13).take(2).filter_map(|text| text.parse().ok()).collect();
    Ok(figures.iter().sum::<f64>() / TICKS_PER_SECOND)
}

/// CPU seconds of a process's threads that live, to the nanosecond: `self`, or a process id.
pub(super) fn cpu_seconds(process: &str) -> Result<f64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).context("read a process's threads")?;
    // A thread that ends meanwhile has no account any more.
    let nanoseconds = tasks.flatten().filter_map(|task| on_cpu(&task.path().join("schedstat")));
    Ok(nanoseconds.sum::<f64>() / 1e9)
}

/// CPU seconds of the thread that asks.
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
