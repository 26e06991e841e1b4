//! A program that is run: its lines as they come, its end, and no life without the thread that started it.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::process::send;
use crate::harness::until;

/// A program that a failed test leaves gets so long to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Lines of each program that a failed test shows.
const COMPLAINTS_MAX: usize = 15;

/// Where a line came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Errors,
}

/// What a program has said so far.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    all: Vec<(Stream, String)>,
    /// Streams that have not ended yet.
    open: usize,
}

/// A program that ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// A running program. Where the thread that started it ends, by a failed assertion too, the program ends with it.
pub struct Program {
    name: String,
    child: Child,
    said: Arc<Said>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it, and listens to both of its streams.
    pub fn start(mut command: Command) -> Self {
        let name: Vec<_> =
            [command.get_program()].into_iter().chain(command.get_args()).map(OsStr::to_string_lossy).collect();
        let name = name.join(" ");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        lockstep_stack::die_with_parent(&mut command, libc::SIGKILL);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let said = Arc::new(Said::default());
        said.lock().open = 2;
        let output = child.stdout.take().map(|stream| listen(stream, Stream::Output, &said));
        let errors = child.stderr.take().map(|stream| listen(stream, Stream::Errors, &said));
        Program { name, child, said, readers: output.into_iter().chain(errors).collect() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of either stream, and gives what was found in it. Lines said before count.
    pub fn line<T>(&self, what: &str, limit: Duration, found: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        let (mut lines, mut looked) = (self.said.lock(), 0);
        loop {
            if let Some(found) = lines.all[looked..].iter().find_map(|(_, line)| found(line)) {
                return found;
            }
            looked = lines.all.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let went_wrong = if lines.open == 0 {
                "ended"
            } else if left.is_zero() {
                "went on"
            } else {
                let woken = self.said.more.wait_timeout(lines, left);
                lines = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            let all = lines.text(None);
            drop(lines);
            panic!("{} {went_wrong} without {what}, after {limit:?} at most; it said:\n{all}", self.name);
        }
    }

    /// All that it has said so far.
    pub fn text(&self) -> String {
        self.said.lock().text(None)
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        send(self.pid(), libc::SIGTERM);
    }

    /// Waits for its end; `None` where a signal brought it.
    pub fn exit_code(&mut self, limit: Duration) -> Option<i32> {
        let status = until(&format!("{} to end", self.name), limit, || self.child.try_wait().expect("a child of ours"));
        status.code()
    }

    /// Waits for its end.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let name = self.name.clone();
        let status = until(&format!("{name} to end"), limit, || self.child.try_wait().expect("a child of ours"));
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        let lines = self.said.lock();
        let (stdout, stderr) = (lines.text(Some(Stream::Output)), lines.text(Some(Stream::Errors)));
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell_complaints();
        }
        let deadline = Instant::now() + STOP_LIMIT;
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
        }
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Fails only where it has ended meanwhile.
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Program {
    /// The last of its warnings, where a test has failed.
    fn tell_complaints(&self) {
        let lines = self.said.lock();
        let is_complaint = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        let complaints: Vec<&str> = lines.all.iter().map(|(_, line)| &**line).filter(is_complaint).collect();
        for line in &complaints[complaints.len().saturating_sub(COMPLAINTS_MAX)..] {
            eprintln!("{}: {line}", self.name);
        }
    }
}

impl Said {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// The lines of one stream, or of both in the order in which they came.
    fn text(&self, of: Option<Stream>) -> String {
        let lines = self.all.iter().filter(|(stream, _)| of.is_none_or(|of| of == *stream));
        lines.map(|(_, line)| format!("{line}\n")).collect()
    }
}

fn listen(stream: impl Read + Send + 'static, of: Stream, said: &Arc<Said>) -> JoinHandle<()> {
    let said = Arc::clone(said);
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let line = line.expect("a pipe that can be read");
            said.lock().all.push((of, String::from_utf8_lossy(&line).into_owned()));
            said.more.notify_all();
        }
        said.lock().open -= 1;
        said.more.notify_all();
    })
}
