//! Keeping one role running: a death is told, and after a pause the role comes back.

use crate::demo::output::thousands;
use crate::demo::roles::process::RoleProcess;
use crate::demo::roles::{Role, Shared};
use crate::exit;
use anyhow::{Context, Result};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A role that died comes back after this pause: long enough to see what the others do without it.
const RESTART_PAUSE: Duration = Duration::from_secs(4);
/// A role that dies sooner than this after its start has died early ...
const EARLY: Duration = Duration::from_secs(10);
/// ... and is given up when it did so this many times in a row.
const EARLY_DEATHS_MAX: u32 = 3;

/// Keeps one role running until it is stopped or given up.
pub async fn keep(shared: Arc<Shared>, role: Role, mut process: RoleProcess) {
    let mut early_deaths = 0;
    loop {
        let began = Instant::now();
        let status = tokio::select! {
            () = shared.stop.cancelled() => return process.kill().await,
            status = process.wait() => status,
        };
        early_deaths = if began.elapsed() < EARLY { early_deaths + 1 } else { 0 };
        let restarted = tokio::select! {
            () = shared.stop.cancelled() => return,
            restarted = bring_back(&shared, role, &process, status, early_deaths) => restarted,
        };
        match restarted {
            Ok(restarted) => process = restarted,
            Err(error) => {
                // One error is enough to end the demo; a second one has no reader.
                let _ = shared.give_up.try_send(error);
                return;
            }
        }
    }
}

async fn bring_back(
    shared: &Shared,
    role: Role,
    died: &RoleProcess,
    status: Result<ExitStatus>,
    early_deaths: u32,
) -> Result<RoleProcess> {
    let status = status?;
    let changes_then = shared.changes();
    shared.output.line(death(role, status));
    if status.code().is_some() {
        shared.output.line(died.last_lines());
    }
    anyhow::ensure!(early_deaths < EARLY_DEATHS_MAX, "{} died {early_deaths} times just after its start", role.name());
    tokio::time::sleep(RESTART_PAUSE).await;
    let missed = missed(shared, role, changes_then).await;
    let process = shared.launcher.launch(role).await.context("bring a role back")?;
    shared.output.line(format!("{} is back (pid {}){missed}", role.name(), process.pid()));
    Ok(process)
}

/// What the role has to catch up with, asked just before it comes back.
async fn missed(shared: &Shared, role: Role, changes_then: u64) -> String {
    match role {
        Role::Ingest => format!(": {} changes unpublished", thousands(shared.changes().saturating_sub(changes_then))),
        Role::Engine => match shared.launcher.lockstep().unapplied().await {
            Ok(unapplied) => format!(": {} records unapplied", thousands(unapplied)),
            Err(error) => format!(": how many records are unapplied is unknown: {}", exit::text(&error)),
        },
        Role::Gateway | Role::Forecast => String::new(),
    }
}

/// How a role ended, in words.
pub fn death(role: Role, status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("{} died (signal {signal})", role.name()),
        (None, code) => format!("{} died (exit code {})", role.name(), code.unwrap_or(-1)),
    }
}
