//! `lockstep check`: everything that must be right, a line each.

use std::process::ExitCode;

use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::Policy;
use lockstep_source::Database;
use lockstep_source::preflight::{self, Check};

use crate::output;

pub(crate) async fn run(config: &Config, policy: &Policy) -> anyhow::Result<ExitCode> {
    let (database_config, kafka) = (config.database()?, config.kafka()?);
    let mut checks =
        vec![Check::new("policy", Ok(format!("{} groups, {} views", policy.groups.len(), policy.views.len())))];
    match Database::connect(database_config, "lockstep-check").await {
        Ok(database) => checks.extend(preflight::checks(&database, database_config, policy).await),
        Err(failure) => checks.push(Check::new("database", Err(failure))),
    }
    checks.extend(lockstep_ingest::topic_checks(kafka, policy, config.partitions).await);
    checks.extend(lockstep_ingest::slot_check(kafka, &database_config.slot).await);
    for check in &checks {
        match &check.found {
            Ok(found) => output::line(&format!("ok    {}: {found}", check.what)),
            Err(failure) => output::line(&format!("FAIL  {}: {failure}", check.what)),
        }
    }
    let kinds: Vec<FailureKind> =
        checks.iter().filter_map(|check| check.found.as_ref().err()).map(|failure| failure.kind).collect();
    output::line(&format!("{} checks, {} failed", checks.len(), kinds.len()));
    // What is configured wrongly is said before what is away: the latter may mend itself.
    let worst = kinds.iter().find(|kind| **kind == FailureKind::Configuration).or(kinds.first());
    Ok(worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(kind.exit_code())))
}
