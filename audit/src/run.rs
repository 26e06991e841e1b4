//! The role: walks over every tier, looks at what has just changed, watches the watermarks, keeps the windows.

use std::sync::Arc;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::topics;
use tokio::task::JoinSet;

use crate::full::Auditor;
use crate::metrics::AuditMetrics;
use crate::shared::Shared;
use crate::{keep, recent, sweep, watch};

/// Runs until shutdown. It writes nothing but what it keeps of its own findings.
pub async fn run(config: &Config, policy: &Policy, metrics: &Metrics, shutdown: Shutdown) -> Result<(), Failure> {
    let kafka = config.kafka()?.clone();
    // With another partition count every key would be looked for where it is not.
    topics::insist_on_partitions(&kafka, policy, config.partitions).await?;
    let auditor = Auditor::connect(config, policy).await?;
    let shared = Arc::new(Shared::new(auditor, config.audit, AuditMetrics::register(metrics)));
    let mut tasks = JoinSet::new();
    for tier in TierName::INSIDE_OUT {
        tasks.spawn(sweep::sweep(shared.clone(), tier, shutdown.clone()));
    }
    tasks.spawn(recent::recent(shared.clone(), kafka.clone(), shutdown.clone()));
    let progress = watch::progress(kafka.clone(), shutdown.clone());
    tasks.spawn(watch::watch(shared.clone(), metrics.clone(), progress, shutdown.clone()));
    tasks.spawn(keep::keep(shared, kafka, shutdown.clone()));
    tracing::info!("auditing");
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(|_| Failure::internal("a task of the audit panicked"))?;
    }
    Ok(())
}
