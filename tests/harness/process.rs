//! Processes and signals.

use std::io;

/// Sends a signal to a process that is there.
#[expect(unsafe_code, reason = "kill(2)")]
pub fn send(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    // SAFETY: kill takes no pointers.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "signal {signal} to {pid}: {}", io::Error::last_os_error());
}

/// Whether a process runs: one that ended and only waits to be looked at does not.
pub fn is_alive(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Files of a running process may not grow beyond so many bytes: for it, the disk is full.
#[expect(unsafe_code, reason = "prlimit(2)")]
pub fn limit_file_bytes(pid: u32, bytes: u64) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the new limit is a valid struct of ours, and the old one is not asked for.
    let done = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "a limit for {pid}: {}", io::Error::last_os_error());
}

/// Whether a process has a handler of its own for a signal.
pub fn catches(pid: u32, signal: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default();
    caught >> (signal - 1) & 1 == 1
}
