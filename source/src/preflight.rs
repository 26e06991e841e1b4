//! What must be right before ingest begins. Each check names its remedy.

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::policy::{Group, Policy};
use lockstep_schemas::position::Lsn;

use crate::catalog;
use crate::database::{Database, DatabaseError, identifier, literal, table};

/// Our replication slot, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Up to here everything has been acknowledged.
    pub confirmed_flush: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// The process that streams from it, where one does.
    pub active_pid: Option<String>,
}

/// Checks the server's settings, the tables' replica identities, and that the publication carries every table.
/// A publication that does not exist is created, with explicit tables and columns.
pub async fn check(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Result<(), Failure> {
    wal_level(database).await?;
    for group in policy.groups.values() {
        for table in &group.tables {
            replica_identity(database, group, table).await?;
        }
    }
    publication(database, config, policy).await
}

fn away(error: DatabaseError) -> Failure {
    Failure::unavailable("a check of the database failed").because(error)
}

async fn wal_level(database: &Database) -> Result<(), Failure> {
    let rows = database.texts("SHOW wal_level".to_owned()).await.map_err(away)?;
    let level = rows.first().and_then(|row| row[0].as_deref()).unwrap_or("unknown");
    if level == "logical" {
        return Ok(());
    }
    Err(Failure::configuration(format!("the database's wal_level is {level}; its log can't be read"))
        .remedy("run ALTER SYSTEM SET wal_level = 'logical' and restart PostgreSQL"))
}

/// The identity must contain the entity key, or the log could not say whose row was deleted (docs/replica-identity.md).
async fn replica_identity(database: &Database, group: &Group, name: &str) -> Result<(), Failure> {
    let columns = catalog::table(database, name).await.map_err(away)?;
    if columns.is_empty() {
        return Err(Failure::configuration(format!("group {}: there is no table {name}", group.name))
            .remedy("run `lockstep migrate` for the demo shop's tables, or correct the policy"));
    }
    let key = &*group.entity_key;
    let Some(column) = columns.get(key) else {
        return Err(Failure::configuration(format!(
            "table {name} has no column {key}, the entity key of group {}",
            group.name
        ))
        .remedy("add the column, or put the table into another group"));
    };
    if column.identity {
        return Ok(());
    }
    let (quoted, key) = (table(name), identifier(key));
    Err(Failure::configuration(format!("table {name}: the replica identity does not contain {key}")).remedy(format!(
        "run ALTER TABLE {quoted} REPLICA IDENTITY FULL, or USING INDEX a unique index that contains {key}"
    )))
}

async fn publication(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Result<(), Failure> {
    let name = &config.publication;
    let known = format!("SELECT 1::text FROM pg_publication WHERE pubname = {}", literal(name));
    if database.texts(known).await.map_err(away)?.is_empty() {
        tracing::info!(publication = %name, "creating the publication");
        return create_publication(database, name, policy).await;
    }
    let sql =
        format!("SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = {}", literal(name));
    let published: Vec<String> =
        database.texts(sql).await.map_err(away)?.into_iter().filter_map(|mut row| row.remove(0)).collect();
    let tables = policy.groups.values().flat_map(|group| &group.tables);
    match tables.into_iter().find(|table| !published.iter().any(|name| **name == ***table)) {
        None => Ok(()),
        Some(missing) => Err(Failure::configuration(format!("publication {name} does not carry table {missing}"))
            .remedy(format!("run ALTER PUBLICATION {} ADD TABLE {}", identifier(name), table(missing)))),
    }
}

async fn create_publication(database: &Database, name: &str, policy: &Policy) -> Result<(), Failure> {
    let mut tables = Vec::new();
    for full_name in policy.groups.values().flat_map(|group| &group.tables) {
        let columns = catalog::table(database, full_name).await.map_err(away)?;
        let columns: Vec<String> = columns.keys().map(|column| identifier(column)).collect();
        tables.push(format!("{} ({})", table(full_name), columns.join(", ")));
    }
    let sql = format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
        identifier(name),
        tables.join(", ")
    );
    let refuse = |error| {
        Failure::configuration(format!("can't create publication {name}"))
            .because(error)
            .remedy("let the tables' owner create it, or grant CREATE on the database and ownership of the tables")
    };
    database.execute(sql).await.map_err(refuse)
}

/// Our slot, where there is one.
pub async fn slot(database: &Database, name: &str) -> Result<Option<Slot>, DatabaseError> {
    let sql = format!(
        "SELECT confirmed_flush_lsn::text, coalesce(wal_status, 'unknown'), active_pid::text \
         FROM pg_replication_slots WHERE slot_name = {} AND database = current_database()",
        literal(name)
    );
    let rows = database.texts(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let confirmed_flush = row[0].as_deref().and_then(|text| text.parse().ok()).unwrap_or_default();
    let wal_status = row[1].clone().unwrap_or_default();
    Ok(Some(Slot { confirmed_flush, wal_status, active_pid: row[2].clone() }))
}

/// Creates our slot and gives its consistent point.
pub async fn create_slot(database: &Database, name: &str) -> Result<Lsn, DatabaseError> {
    let sql = format!("SELECT lsn::text FROM pg_create_logical_replication_slot({}, 'pgoutput')", literal(name));
    let rows = database.texts(sql).await?;
    let text = rows.first().and_then(|row| row[0].as_deref()).unwrap_or("nothing");
    text.parse().map_err(|_| DatabaseError::Answer { expected: "an LSN", answer: text.to_owned() })
}
