//! Starting programs so that none of them outlives this process.
//!
//! Each child is told to die when its parent does. The kernel takes the *thread* that spawned it for the parent, so
//! all children of a stack are spawned by one thread that lives as long as the stack.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::{Failed, StackError};
use crate::process::Process;
use crate::sys::{self, Account};

/// How to start one program.
#[derive(Clone)]
pub(crate) struct Launch {
    /// Its name in messages.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The user to run it as. `None`: that of this process.
    pub(crate) account: Option<Account>,
    /// Where it runs.
    pub(crate) folder: PathBuf,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// What makes it and its own children end at once.
    pub(crate) stop_signal: i32,
}

impl Launch {
    pub(crate) fn new(name: &str, program: impl Into<PathBuf>, folder: &Path, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            account: None,
            folder: folder.to_owned(),
            log: log.to_owned(),
            stop_signal: libc::SIGKILL,
        }
    }

    pub(crate) fn arguments<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        // A group of its own: Ctrl-C is for this process, which then stops its children in order.
        command.process_group(0);
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        sys::die_with_parent(&mut command, self.stop_signal);
        command.spawn()
    }
}

struct Request {
    launch: Launch,
    reply: Sender<io::Result<Child>>,
}

/// The thread that spawns the children of a stack. Its end is theirs.
pub(crate) struct Spawner {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    pub(crate) fn start() -> Result<Self, StackError> {
        let (requests, inbox) = mpsc::channel::<Request>();
        let spawning = thread::Builder::new().name("stack-spawner".into());
        let thread = spawning.spawn(move || {
            for Request { launch, reply } in inbox {
                // Nobody waits for the reply any more where the asking thread has panicked.
                let _ = reply.send(launch.spawn());
            }
        });
        Ok(Self { requests: Some(requests), thread: Some(thread.map_err(StackError::io("start a thread"))?) })
    }

    pub(crate) fn spawn(&self, launch: &Launch) -> Result<Process, StackError> {
        let (reply, answer) = mpsc::channel();
        let requests = self.requests.as_ref().expect("taken in drop only");
        let request = Request { launch: launch.clone(), reply };
        requests.send(request).expect("the spawner lives as long as this");
        let spawned = answer.recv().expect("the spawner answers every request");
        let child = spawned.map_err(StackError::io(format!("start {}", launch.program.display())))?;
        Ok(Process::new(child, launch))
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, launch: &Launch, limit: Duration) -> Result<(), StackError> {
        let mut process = self.spawn(launch)?;
        let what = match process.wait(limit) {
            Some(status) if status.success() => return Ok(()),
            Some(status) => format!("ended with {status}"),
            None => format!("did not end within {} s", limit.as_secs()),
        };
        Err(Failed::new(&launch.name, what, &launch.log).into())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // It does nothing that panics.
            let _ = thread.join();
        }
    }
}
