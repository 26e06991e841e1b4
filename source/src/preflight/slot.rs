//! The replication slot.

use lockstep_process::Failure;
use lockstep_schemas::position::Lsn;

use super::{Check, away, failover};
use crate::database::{Database, DatabaseError, literal};

/// What our log is written by.
const PLUGIN: &str = "pgoutput";

/// Our replication slot, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Up to here everything has been acknowledged.
    pub confirmed_flush: Lsn,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: String,
    /// The process that streams from it, where one does.
    pub active_pid: Option<String>,
    /// Bytes of the log that the server keeps for it.
    pub retained_bytes: u64,
    /// Bytes of the log that have not been acknowledged.
    pub unread_bytes: u64,
}

/// Our slot, where there is one.
pub async fn find(database: &Database, name: &str) -> Result<Option<Slot>, DatabaseError> {
    let sql = format!(
        "SELECT confirmed_flush_lsn::text, coalesce(wal_status, 'unknown'), active_pid::text, \
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint::text, \
         pg_wal_lsn_diff(pg_current_wal_insert_lsn(), confirmed_flush_lsn)::bigint::text \
         FROM pg_replication_slots WHERE slot_name = {} AND database = current_database()",
        literal(name)
    );
    let rows = database.texts(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Slot {
        confirmed_flush: row[0].as_deref().and_then(|text| text.parse().ok()).unwrap_or_default(),
        wal_status: row[1].clone().unwrap_or_default(),
        active_pid: row[2].clone(),
        retained_bytes: row[3].as_deref().and_then(|text| text.parse().ok()).unwrap_or(0),
        unread_bytes: row[4].as_deref().and_then(|text| text.parse().ok()).unwrap_or(0),
    }))
}

/// A slot of our name that can't be ours.
#[derive(Clone, Copy, Debug)]
enum Foreign<'a> {
    /// It keeps the log for a standby or an archiver.
    Physical,
    /// It is decoded by another plugin.
    Plugin(&'a str),
    /// It is of another database.
    Database(&'a str),
}

/// Refuses a slot of our name from which our log can't be read. No attempt will do better until somebody mends it.
pub async fn insist(database: &Database, name: &str) -> Result<(), Failure> {
    let sql = format!(
        "SELECT slot_type, coalesce(plugin, ''), coalesce(database, ''), current_database() \
         FROM pg_replication_slots WHERE slot_name = {}",
        literal(name)
    );
    let rows = database.texts(sql).await.map_err(away)?;
    let Some(row) = rows.first() else { return Ok(()) };
    let text = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
    foreign(text(0), text(1), text(2), text(3)).map_or(Ok(()), |foreign| Err(refuse(name, foreign)))
}

/// What is wrong with a slot, where its type, plugin and database are these, and ours is `current`. Pure.
fn foreign<'a>(slot_type: &str, plugin: &'a str, database: &'a str, current: &str) -> Option<Foreign<'a>> {
    if slot_type != "logical" {
        return Some(Foreign::Physical);
    }
    if database != current {
        return Some(Foreign::Database(database));
    }
    (plugin != PLUGIN).then_some(Foreign::Plugin(plugin))
}

fn refuse(name: &str, foreign: Foreign<'_>) -> Failure {
    let what = match foreign {
        Foreign::Physical => format!("slot {name} is physical: a standby or an archiver may depend on it"),
        Foreign::Plugin(plugin) => format!("slot {name} is of plugin {plugin}, not of {PLUGIN}"),
        Foreign::Database(database) => format!("slot {name} is of database {database}, not of ours"),
    };
    Failure::configuration(what).remedy(format!(
        "name another slot by [database] slot; or, if nobody needs this one, run SELECT pg_drop_replication_slot('{}')",
        name.replace('\'', "''")
    ))
}

/// Creates our slot, one that standbys take over where the server knows such slots, and gives its consistent point.
pub async fn create(database: &Database, name: &str) -> Result<Lsn, DatabaseError> {
    let options = if failover::is_known(database).await? { ", failover => true" } else { "" };
    let name = literal(name);
    let sql = format!("SELECT lsn::text FROM pg_create_logical_replication_slot({name}, '{PLUGIN}'{options})");
    let rows = database.texts(sql).await?;
    let text = rows.first().and_then(|row| row[0].as_deref()).unwrap_or("nothing");
    text.parse().map_err(|_| DatabaseError::Answer { expected: "an LSN", answer: text.to_owned() })
}

pub(super) async fn checks(database: &Database, name: &str) -> Vec<Check> {
    let found = async {
        insist(database, name).await?;
        find(database, name).await.map_err(away)
    };
    let found = found.await.and_then(|slot| match slot {
        None => Ok("not there yet: ingest creates it".to_owned()),
        Some(slot) if slot.wal_status == "lost" => {
            Err(Failure::configuration(format!("slot {name} has lost its log (wal_status = lost)")).remedy(format!(
                "run SELECT pg_drop_replication_slot('{}'); ingest then begins a new epoch with a new slot",
                name.replace('\'', "''")
            )))
        }
        Some(slot) => {
            let reader = slot.active_pid.map_or("nobody reads it".to_owned(), |pid| format!("read by process {pid}"));
            Ok(format!("{}, {} bytes of the log kept, {reader}", slot.wal_status, slot.retained_bytes))
        }
    });
    vec![Check::new(format!("slot {name}"), found)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slot_of_our_plugin_and_database_is_ours() {
        let check = |slot_type, plugin, database, says: Option<&str>| {
            let said = foreign(slot_type, plugin, database, "shop").map(|foreign| refuse("s", foreign).to_string());
            let holds = match (&said, says) {
                (Some(said), Some(says)) => said.contains(says) && said.contains("[database] slot"),
                (None, None) => true,
                _ => false,
            };
            assert!(holds, "{said:?} where {says:?} was expected");
        };
        check("logical", "pgoutput", "shop", None);
        check("physical", "", "", Some("slot s is physical"));
        check("logical", "test_decoding", "shop", Some("of plugin test_decoding"));
        check("logical", "pgoutput", "other", Some("of database other"));
    }
}
