//! Starting processes that do not outlive this one, however it ends.
//!
//! The kernel can kill a child when its parent goes, and takes the *thread* that spawned it for the parent. So one thread
//! spawns all roles, and lives as long as they may.

use anyhow::{Context, Result};
use std::io;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

/// There are four roles, and each waits for its own start.
const REQUESTS_MAX: usize = 4;

struct Request {
    command: Command,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The spawning thread. It ends, and every child with it, when this is dropped.
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Starts the thread, from within the runtime that will wait for the children.
    pub fn start() -> Result<Self> {
        let (requests, mut inbox) = mpsc::channel::<Request>(REQUESTS_MAX);
        let runtime = tokio::runtime::Handle::current();
        let spawn_all = move || {
            let _entered = runtime.enter();
            while let Some(Request { mut command, reply }) = inbox.blocking_recv() {
                // Nobody waits for the reply any more where the demo is ending.
                let _ = reply.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("role-spawner".to_owned()).spawn(spawn_all).context("start a thread")?;
        Ok(Self { requests })
    }

    /// Spawns `command`, in a process group of its own, so that Ctrl-C in a terminal reaches this process alone.
    pub async fn spawn(&self, mut command: Command) -> Result<Child> {
        command.process_group(0).kill_on_drop(true);
        lockstep_stack::die_with_parent(command.as_std_mut(), libc::SIGKILL);
        let (reply, child) = oneshot::channel();
        self.requests.send(Request { command, reply }).await.ok().context("the spawner has ended")?;
        Ok(child.await.context("the spawner has ended")??)
    }
}
