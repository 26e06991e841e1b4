//! The other commands of this very program, run as a user would run them.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// No command is waited for longer than this, whatever its own time-out says.
const COMMAND_MAX: Duration = Duration::from_secs(120);
const STATUS_MAX: Duration = Duration::from_secs(15);

/// What a user may have set for an installation of their own.
const FOREIGN: [&str; 3] = ["LOCKSTEP_CONFIG", "LOCKSTEP_POLICY", "LOCKSTEP_NAMESPACE"];

/// This program, and the environment that points it at the demo's servers.
#[derive(Clone)]
pub struct Lockstep {
    /// The executable that runs now.
    pub executable: PathBuf,
    /// What the servers' addresses are called, and the addresses.
    pub environment: Vec<(String, String)>,
    /// Where its commands run.
    pub folder: PathBuf,
}

#[derive(Deserialize)]
struct Status {
    unapplied: u64,
}

impl Lockstep {
    /// `lockstep warm <view>`: fills a view from the database.
    pub async fn warm(&self, view: &str) -> Result<()> {
        self.run(&["warm", view], COMMAND_MAX).await.map(drop)
    }

    /// `lockstep rebuild <view>` with these options: what it tells.
    pub async fn rebuild(&self, view: &str, options: &[&str]) -> Result<serde_json::Value> {
        let told = self.run(&[&["rebuild", view, "-o", "json"], options].concat(), COMMAND_MAX).await?;
        serde_json::from_slice(&told.stdout).context("read the answer of `lockstep rebuild`")
    }

    /// `lockstep wait`: returns when the tier has come to `lsn`, fails when it has not by `timeout`.
    pub async fn wait(&self, lsn: &str, tier: &str, timeout: Duration) -> Result<()> {
        let timeout = format!("{}s", timeout.as_secs());
        self.run(&["wait", "--for", lsn, "--tier", tier, "--timeout", &timeout], COMMAND_MAX).await.map(drop)
    }

    /// Records of the log that the slowest tier has not applied, as `lockstep status` counts them.
    pub async fn unapplied(&self) -> Result<u64> {
        let status = self.run(&["status", "-o", "json"], STATUS_MAX).await?;
        let status: Status = serde_json::from_slice(&status.stdout).context("read the answer of `lockstep status`")?;
        Ok(status.unapplied)
    }

    /// A command with these arguments. It runs in the stack's folder and without the caller's own configuration, so that
    /// the demo is the same wherever it is started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(arguments).current_dir(&self.folder);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    async fn run(&self, arguments: &[&str], time_max: Duration) -> Result<Output> {
        let name = format!("lockstep {}", arguments.join(" "));
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(time_max, command.output())
            .await
            .with_context(|| format!("`{name}` did not end within {} s", time_max.as_secs()))?
            .with_context(|| format!("start `{name}`"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "`{name}` failed ({}): {}", output.status, last_line(&said));
        Ok(output)
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or("it said nothing")
}
