//! The few calls to the operating system that the standard library lacks. All unsafe code of this crate is here.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The ids of a user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

static STOP: AtomicBool = AtomicBool::new(false);

extern "C" fn ask_to_stop(_signal: libc::c_int) {
    STOP.store(true, Ordering::Relaxed);
}

/// From now on SIGTERM and SIGINT no longer end this process: they make [`stop_asked`] true.
#[expect(unsafe_code, reason = "signal(2)")]
pub(crate) fn catch_stop_signals() {
    let handler = ask_to_stop as *const () as libc::sighandler_t;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the handler only stores to an atomic, which is allowed at any point of the program.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether a signal that [`catch_stop_signals`] waits for has come.
pub(crate) fn stop_asked() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Makes the child die by `signal` when the thread that spawns it ends, by whatever cause: the kernel takes the thread for
/// the parent.
// The standard library changes the user before this runs; a change after it would clear the setting.
#[expect(unsafe_code, reason = "prctl(2) has to run in the child, between fork and exec")]
pub fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    // SAFETY: the closure calls prctl and getppid only, both safe after a fork, and does not allocate.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have gone before the call above: then nobody would ever signal this child.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Gives the child a session of its own, so that the terminal's signals and its end do not reach it.
#[expect(unsafe_code, reason = "setsid(2) has to run in the child, between fork and exec")]
pub(crate) fn new_session(command: &mut Command) {
    // SAFETY: setsid is safe after a fork, and nothing is allocated.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// Sends `signal`. A process that is gone already is no failure here: callers look at what is left.
#[expect(unsafe_code, reason = "kill(2)")]
pub(crate) fn send_signal(pid: u32, signal: i32) {
    let pid = pid as libc::pid_t;
    assert!(pid > 1, "a signal to {pid} would reach more than one process");
    // SAFETY: kill takes plain numbers.
    unsafe { libc::kill(pid, signal) };
}

/// The user that this process acts as.
#[expect(unsafe_code, reason = "geteuid(2)")]
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() }
}

/// Looks a user up by name.
#[expect(unsafe_code, reason = "getpwnam_r(3)")]
pub(crate) fn account(name: &str) -> Option<Account> {
    const TEXT_BYTES: usize = 16 * 1024;
    let name = CString::new(name).ok()?;
    let mut text = vec![0; TEXT_BYTES];
    let mut entry = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers live until after the call, and the length given is that of `text`.
    let status =
        unsafe { libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), text.as_mut_ptr(), text.len(), &raw mut found) };
    if status != 0 || found.is_null() {
        return None;
    }
    // SAFETY: `found` is not null, so it points at `entry`, which the call has filled.
    let entry = unsafe { entry.assume_init() };
    Some(Account { uid: entry.pw_uid, gid: entry.pw_gid })
}
