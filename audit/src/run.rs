//! The role: walks over every tier, looks at what has just changed, watches the watermarks, keeps the windows.

use std::sync::Arc;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::topics;
use lockstep_source::Database;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::full::Auditor;
use crate::metrics::AuditMetrics;
use crate::shared::Shared;
use crate::{keep, parked, recent, repair, sweep, touched, watch};

/// Runs until shutdown. It writes nothing but what it keeps of its own findings; and, where it may repair, what it asks the
/// log for.
pub async fn run(
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let kafka = config.kafka()?.clone();
    // With another partition count every key would be looked for where it is not.
    topics::insist_on_partitions(&kafka, policy, config.partitions).await?;
    let auditor = Auditor::connect(config, policy).await?;
    let (repairs, wrong) = mpsc::channel(repair::WAITING_MAX);
    let repairs = config.audit.repair.then_some(repairs);
    let run = format!("{:016x}", fastrand::u64(..));
    let (touches, untouched) = mpsc::channel(touched::WAITING_MAX);
    let known = AuditMetrics::register(metrics);
    let shared = Arc::new(Shared::new(auditor, config.audit, known, run.clone(), repairs, touches));
    let mut tasks = JoinSet::new();
    if config.audit.repair {
        let database = Database::connect(config.database()?, "lockstep-audit-repair").await?;
        tasks.spawn(repair::repair(shared.clone(), database, wrong, shutdown.clone()));
    }
    for tier in TierName::INSIDE_OUT {
        tasks.spawn(sweep::sweep(shared.clone(), tier, shutdown.clone()));
    }
    tasks.spawn(recent::recent(shared.clone(), kafka.clone(), follower.clone(), shutdown.clone()));
    let progress = watch::progress(follower);
    tasks.spawn(watch::watch(shared.clone(), kafka.clone(), metrics.clone(), progress, shutdown.clone()));
    tasks.spawn(touched::note(shared.clone(), kafka.clone(), untouched, shutdown.clone()));
    tasks.spawn(parked::parked(shared.clone(), follower.clone(), shutdown.clone()));
    tasks.spawn(keep::keep(shared, kafka, run, shutdown.clone()));
    tracing::info!("auditing");
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| Failure::internal("a task of the audit panicked"))?;
    }
    Ok(())
}
