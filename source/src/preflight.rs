//! What must be right before ingest begins. Each check names its remedy; `lockstep check` prints them all, ingest stops at
//! the first that fails.

mod completeness;
mod demands;
mod failover;
mod hidden;
mod holder;
mod publication;
mod rules;
mod running;
mod secrets;
mod server;
mod slot;
mod tables;

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::table_name::split;

use crate::database::{Database, DatabaseError};

pub use holder::{Holder, clients, end as end_backend, find as holder};
pub use publication::{
    create as create_publication, is_wanted, members, needed_columns, options as publication_options, published_table,
};
pub use running::{Running, find as running};
pub use secrets::{looks_secret, may_publish};
pub use slot::{Slot, create as create_slot, find as slot, insist as insist_on_slot};

/// One check: what was looked at, and what was found.
#[derive(Debug)]
pub struct Check {
    /// What was looked at, e.g. `replica identity of public.prices`.
    pub what: String,
    /// What was found, or what is wrong and how to mend it.
    pub found: Result<String, Failure>,
}

impl Check {
    /// A check of something.
    pub fn new(what: impl Into<String>, found: Result<String, Failure>) -> Self {
        Check { what: what.into(), found }
    }
}

/// Every check of the database, in the order in which mistakes are best mended.
pub async fn checks(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Vec<Check> {
    let mut checks = server::checks(database).await;
    for group in policy.groups.values() {
        for table in &group.tables {
            checks.push(tables::identity(database, group, table).await);
        }
    }
    for view in policy.views.values() {
        checks.push(tables::columns(database, view).await);
        checks.extend(demands::check(database, policy, view).await);
    }
    checks.push(rules::check(database, policy).await);
    checks.push(hidden::check(database, policy).await);
    checks.extend(of_publication(database, config, policy).await);
    checks.extend(publication::signal_table(database, config).await);
    checks.extend(slot::checks(database, &config.slot).await);
    checks.extend(failover::check(database, &config.slot).await);
    checks.push(server::privileges(database).await);
    checks
}

/// What ingest insists on. A publication that does not exist is created, with explicit tables and columns.
pub async fn insist(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Result<(), Failure> {
    server::wal_level(database).await.found?;
    for group in policy.groups.values() {
        for table in &group.tables {
            tables::identity(database, group, table).await.found?;
        }
    }
    for view in policy.views.values() {
        demands::check(database, policy, view).await.map_or(Ok(String::new()), |check| check.found)?;
    }
    rules::check(database, policy).await.found?;
    if !publication::exists(database, &config.publication).await.map_err(away)? {
        tracing::info!(publication = %config.publication, "creating the publication");
        create_publication(database, &config.publication, policy).await?;
    }
    for check in of_publication(database, config, policy).await {
        check.found?;
    }
    insist_on_signals(database, config).await?;
    slot::insist(database, &config.slot).await?;
    server::privileges(database).await.found?;
    // What would be forgotten only by a fail-over is no reason not to run.
    if let Some(Err(failure)) = failover::check(database, &config.slot).await.map(|check| check.found) {
        tracing::warn!(%failure, "the slot is not safe in a fail-over");
    }
    Ok(())
}

/// A signal table may come later; one whose name is none never will.
async fn insist_on_signals(database: &Database, config: &DatabaseConfig) -> Result<(), Failure> {
    let Some(Check { found: Err(failure), .. }) = publication::signal_table(database, config).await else {
        return Ok(());
    };
    if config.signal_table.as_deref().is_some_and(|name| split(name).is_none()) {
        return Err(failure);
    }
    tracing::warn!(%failure, "nothing is heard of the signal table yet");
    Ok(())
}

async fn of_publication(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Vec<Check> {
    let mut checks = publication::checks(database, config, policy).await;
    checks.extend(completeness::checks(database, config, policy).await);
    checks.push(secrets::check(database, config, policy).await);
    checks
}

fn away(error: DatabaseError) -> Failure {
    Failure::unavailable("a check of the database failed").because(error)
}
