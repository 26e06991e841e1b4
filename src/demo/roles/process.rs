//! One role's process: `lockstep run --role <role>`.

use crate::demo::lockstep::Lockstep;
use crate::demo::roles::Role;
use crate::demo::roles::log::Log;
use crate::demo::roles::spawner::Spawner;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::Child;

/// How roles are started.
pub struct Launcher {
    lockstep: Lockstep,
    log_folder: PathBuf,
    spawner: Spawner,
}

impl Launcher {
    /// Logs go to `log_folder`, one file a role.
    pub fn start(lockstep: Lockstep, log_folder: &Path) -> Result<Self> {
        Ok(Self { lockstep, log_folder: log_folder.to_owned(), spawner: Spawner::start()? })
    }

    /// This program's other commands.
    pub fn lockstep(&self) -> &Lockstep {
        &self.lockstep
    }

    /// Starts a role; what it says goes to its log.
    pub async fn launch(&self, role: Role) -> Result<RoleProcess> {
        let log = Log::new(&self.log_folder, &role.name().replace(',', "-"))?;
        let mut command = self.lockstep.command(&["run", "--role", role.name()]);
        command.stdin(Stdio::null()).stdout(log.open()?).stderr(log.open()?);
        let child = self.spawner.spawn(command).await.with_context(|| format!("start {}", role.name()))?;
        let pid = child.id().context("a process without a pid")?;
        Ok(RoleProcess { child, pid, log })
    }
}

/// A running role.
pub struct RoleProcess {
    child: Child,
    pid: u32,
    log: Log,
}

impl RoleProcess {
    /// For those who want to kill it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Returns when it has ended.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.context("wait for a role")
    }

    /// The end of its log.
    pub fn last_lines(&self) -> String {
        self.log.last_lines()
    }

    /// Ends it at once: whatever it holds can be read again, and its servers are thrown away.
    pub async fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill().await;
    }
}
