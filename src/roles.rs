//! Roles of one process: started together, ended together.

use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::Policy;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::cli::Role;

/// After a signal, or a role's failure, the others have so long to end what is under way.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(12);

/// Runs roles until a signal, or until one of them fails; then drains all.
pub(crate) async fn run(config: Config, policy: Policy, roles: Vec<Role>) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    listen_for_signals(shutdown.clone())?;
    let metrics = Metrics::default();
    let (follower, reading) = Follower::new(config.kafka()?, shutdown.clone());
    let serving = config.metrics_listen.clone().map(|listen| {
        let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
        async move { metrics.serve(&listen, shutdown).await }
    });
    let mut running = JoinSet::new();
    running.spawn(async move {
        reading.await;
        (None, Ok(()))
    });
    if let Some(serving) = serving {
        running.spawn(async move { (None, serving.await) });
    }
    let mut left = roles.len();
    for role in roles {
        let (config, policy, follower) = (config.clone(), policy.clone(), follower.clone());
        let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
        running
            .spawn(async move { (Some(role), run_one(role, &config, &policy, &follower, &metrics, shutdown).await) });
    }
    let mut first_failure = None;
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_WAIT_MAX).await;
    };
    tokio::pin!(late);
    loop {
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            () = &mut late => {
                // Whatever is cut off is done again: nothing is acknowledged before it is safe.
                tracing::warn!("a role did not end in time, and is cut off");
                running.abort_all();
                break;
            }
        };
        let Some(ended) = ended else { break };
        let failure = match ended {
            Ok((role, Ok(()))) => {
                left -= usize::from(role.is_some());
                // What is left works for the roles.
                if left == 0 {
                    shutdown.cancel();
                }
                None
            }
            Ok((role, Err(failure))) => {
                tracing::error!(?role, %failure, "a role failed");
                Some(failure)
            }
            Err(_) => Some(Failure::internal("a role panicked")),
        };
        if failure.is_some() {
            shutdown.cancel();
        }
        first_failure = first_failure.or(failure);
    }
    first_failure.map_or(Ok(()), |failure| Err(failure.into()))
}

async fn run_one(
    role: Role,
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    match role {
        Role::Ingest => lockstep_ingest::run(config, policy, metrics, shutdown).await,
        Role::Engine => lockstep_coherence::run(config, policy, follower, metrics, shutdown).await,
        Role::Gateway => lockstep_gateway::run(config, policy, follower, metrics, shutdown).await,
        Role::Forecast => lockstep_warmer::forecast::run(config, policy, follower, metrics, shutdown).await,
        Role::Warmer => lockstep_warmer::hot::run(config, policy, follower, metrics, shutdown).await,
        Role::Audit => lockstep_audit::run(config, policy, follower, metrics, shutdown).await,
    }
}

/// SIGTERM and Ctrl-C drain; a second one ends the process at once.
pub(crate) fn listen_for_signals(shutdown: Shutdown) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is under way is ended first; a second signal ends at once");
        shutdown.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::abort();
    });
    Ok(())
}
