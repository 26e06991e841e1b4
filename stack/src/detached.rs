//! A stack in the background: `lockstep stack up` and `down`.
//!
//! A process of its own, the holder, owns the stack and stops it on SIGTERM. It is found by a state folder:
//!
//! | file | what it is |
//! |---|---|
//! | `lock` | the holder's process id; locked as long as the holder lives |
//! | `stack.json` | the [`Endpoints`], once all servers serve |
//! | `failure` | why the last start failed |
//! | `holder.log` | the holder's output |

mod lines;
mod state;

use std::fs::{self, File};
use std::io;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::detached::lines::Lines;
pub use crate::detached::state::default_state;
use crate::detached::state::{clear, holder_of, lock, make_state, read_endpoints, write_whole};
use crate::error::{StackError, tail};
use crate::identity::{Identity, wait_gone};
use crate::{Endpoints, Stack, StackOptions, sys};

/// With the longest start of a server, and some.
const UP_LIMIT: Duration = Duration::from_secs(180);
/// With the stop of a stack, and some.
const DOWN_LIMIT: Duration = Duration::from_secs(20);
/// For what remains after the holder was killed.
const GONE_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What [`down`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// A stack ran, and is gone.
    Stopped,
    /// No stack ran.
    NothingRan,
}

/// Starts a stack in the background and waits until it serves.
///
/// `holder` is this program again, with arguments that make it call [`hold`] on the same `state`. Its lines, the
/// progress of the start among them, are passed on to `progress`.
pub fn up(state: &Path, mut holder: Command, progress: &mut dyn FnMut(&str)) -> Result<Endpoints, StackError> {
    make_state(state)?;
    if holder_of(state).is_some() {
        return Err(StackError::AlreadyRunning { state: state.to_owned() });
    }
    clear(state);
    let path = state.join("holder.log");
    let log = File::create(&path).map_err(StackError::io(format!("write {}", path.display())))?;
    let errors = log.try_clone().map_err(StackError::io("copy a file handle"))?;
    holder.stdin(Stdio::null()).stdout(log).stderr(errors);
    sys::new_session(&mut holder);
    let mut child = holder.spawn().map_err(StackError::io("start the stack's holder"))?;
    let mut said = Lines::of(&path);
    let outcome = wait_up(state, &mut child, &mut said, progress);
    if outcome.is_err() {
        // Where it still runs, it did not come up in time; its servers die with it.
        let _ = child.kill();
        let _ = child.wait();
    }
    outcome
}

fn wait_up(
    state: &Path,
    child: &mut Child,
    said: &mut Lines,
    progress: &mut dyn FnMut(&str),
) -> Result<Endpoints, StackError> {
    let deadline = Instant::now() + UP_LIMIT;
    loop {
        let ended = child.try_wait().map_err(StackError::io("wait for the stack's holder"))?;
        said.new_lines().lines().for_each(&mut *progress);
        if let Some(endpoints) = running(state) {
            return Ok(endpoints);
        }
        if let Some(status) = ended {
            let known = fs::read_to_string(state.join("failure"));
            let text = known.unwrap_or_else(|_| {
                let log = fs::read_to_string(said.path()).unwrap_or_default();
                format!("its holder ended with {status}; it said last:\n{}", tail(&log))
            });
            return Err(StackError::Holder { text });
        }
        if Instant::now() > deadline {
            let text = format!("it was not up within {} s", UP_LIMIT.as_secs());
            return Err(StackError::Holder { text });
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// What a detached process does: starts the stack, says where it is, waits for SIGTERM or SIGINT, and stops it.
/// Also stops where the process that asked for it ends before all servers serve. Tells its progress to stderr.
pub fn hold(state: &Path, options: StackOptions) -> Result<(), StackError> {
    let asker = parent_id();
    make_state(state)?;
    let _lock = lock(state)?;
    sys::catch_stop_signals();
    let path = state.join("stack.json");
    let started = Stack::start(options, &mut |line| eprintln!("{line}"));
    let held = started.and_then(|stack| {
        if parent_id() == asker {
            let text = serde_json::to_string_pretty(stack.endpoints()).map_err(io::Error::from);
            let written = text.and_then(|text| write_whole(&path, &text));
            written.map_err(StackError::io(format!("write {}", path.display())))?;
            wait_for_stop_signal();
            // Whoever looks for the stack from now on does not find one that is about to end.
            fs::remove_file(&path).map_err(StackError::io(format!("remove {}", path.display())))?;
        }
        stack.stop();
        Ok(())
    });
    held.inspect_err(|error| {
        // Where it cannot be written, the asker shows the holder's log instead.
        let _ = write_whole(&state.join("failure"), &error.chain());
    })
}

/// Stops the stack of this state folder and waits until all of it is gone.
pub fn down(state: &Path) -> Result<Down, StackError> {
    let Some(holder) = holder_of(state) else {
        clear(state);
        return Ok(Down::NothingRan);
    };
    let servers = running(state).map(|endpoints| endpoints.pids).unwrap_or_default();
    let servers: Vec<_> = servers.into_values().filter_map(Identity::of).collect();
    holder.signal(libc::SIGTERM);
    if !wait_gone(&[holder], Instant::now() + DOWN_LIMIT) {
        holder.kill();
    }
    let all = [&[holder], &servers[..]].concat();
    if !wait_gone(&all, Instant::now() + GONE_LIMIT) {
        let text = format!("the stack in {} does not end", state.display());
        let source = io::Error::from(io::ErrorKind::TimedOut);
        return Err(StackError::Io { action: text, source });
    }
    clear(state);
    Ok(Down::Stopped)
}

/// The stack of this state folder, where one runs and serves.
pub fn running(state: &Path) -> Option<Endpoints> {
    holder_of(state)?;
    read_endpoints(state)
}

fn wait_for_stop_signal() {
    while !sys::stop_asked() {
        thread::sleep(POLL_INTERVAL);
    }
}
