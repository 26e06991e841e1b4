//! The roles of this very program, each a process of its own, kept running.

/// Keeping a role running.
mod keeper;
/// A role's log file.
pub mod log;
/// One role's process.
pub mod process;
/// Processes that end with this one.
pub mod spawner;

use crate::demo::lockstep::Lockstep;
use crate::demo::output::Output;
use crate::demo::roles::process::Launcher;
use crate::exit;
use anyhow::Result;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a process does in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The log to Kafka.
    Ingest,
    /// Kafka to the tiers.
    Engine,
    /// The read path.
    Gateway,
    /// What will be wanted, and filling it beforehand.
    Forecast,
}

impl Role {
    /// As `lockstep run --role` takes it, and as it is told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Engine => "engine",
            Self::Gateway => "gateway",
            Self::Forecast => "forecast,warmer",
        }
    }
}

/// What all roles share.
pub struct Roles {
    shared: Arc<Shared>,
    keepers: JoinSet<()>,
}

/// Tells when a role is given up.
pub struct GivenUp(mpsc::Receiver<anyhow::Error>);

impl GivenUp {
    /// Returns when a role is given up: why.
    pub async fn wait(&mut self) -> anyhow::Error {
        match self.0.recv().await {
            Some(error) => error,
            None => std::future::pending().await,
        }
    }
}

struct Shared {
    launcher: Launcher,
    output: Arc<Output>,
    /// Changes that the shop has committed so far; none before the traffic.
    changes: Mutex<Box<dyn Fn() -> u64 + Send>>,
    stop: CancellationToken,
    give_up: mpsc::Sender<anyhow::Error>,
}

impl Roles {
    /// No role runs yet. Logs go to `log_folder`.
    pub fn new(lockstep: Lockstep, log_folder: &Path, output: Arc<Output>) -> Result<(Self, GivenUp)> {
        let launcher = Launcher::start(lockstep, log_folder)?;
        let (give_up, given_up) = mpsc::channel(1);
        let changes: Mutex<Box<dyn Fn() -> u64 + Send>> = Mutex::new(Box::new(|| 0));
        let shared = Shared { launcher, output, changes, stop: CancellationToken::new(), give_up };
        Ok((Self { shared: Arc::new(shared), keepers: JoinSet::new() }, GivenUp(given_up)))
    }

    /// Starts a role, waits until it is `ready`, tells, and keeps it running from then on.
    pub async fn start(&mut self, role: Role, ready: impl Future<Output = Result<()>>) -> Result<()> {
        let began = Instant::now();
        let mut process = self.shared.launcher.launch(role).await?;
        let ready = tokio::select! {
            ready = ready => ready,
            status = process.wait() => Err(anyhow::anyhow!(keeper::death(role, status?))),
        };
        ready.map_err(|error| anyhow::anyhow!("{}\n{}", exit::text(&error), process.last_lines()))?;
        self.shared.output.line(format!(
            "{} is up (pid {}), {:.1} s",
            role.name(),
            process.pid(),
            began.elapsed().as_secs_f64()
        ));
        self.keepers.spawn(keeper::keep(Arc::clone(&self.shared), role, process));
        Ok(())
    }

    /// Says where the shop's changes are counted, for what the ingest misses while it is down.
    pub fn count_changes_by(&self, changes: impl Fn() -> u64 + Send + 'static) {
        *self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(changes);
    }

    /// Ends every role.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        while self.keepers.join_next().await.is_some() {}
    }
}

impl Shared {
    fn changes(&self) -> u64 {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)()
    }
}
