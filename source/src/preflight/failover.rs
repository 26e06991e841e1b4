//! Slots that a standby takes over (PostgreSQL 17 and newer): is ours one, and does it wait for the standbys?

use lockstep_process::Failure;

use super::{Check, away, server};
use crate::database::{Database, DatabaseError, literal};

/// From here on a slot can be carried to standbys.
const VERSION_MIN: u32 = 170_000;

/// A standby's physical slot.
struct Standby {
    name: String,
    active: bool,
}

/// Whether this server can carry a slot to its standbys.
pub(super) async fn is_known(database: &Database) -> Result<bool, DatabaseError> {
    let rows = database.texts("SHOW server_version_num".to_owned()).await?;
    let version = rows.first().and_then(|row| row[0].as_deref()).and_then(|text| text.parse().ok());
    Ok(version.is_some_and(|version: u32| version >= VERSION_MIN))
}

/// No check where the server knows no such slots.
pub(super) async fn check(database: &Database, slot: &str) -> Option<Check> {
    let found = match is_known(database).await {
        Ok(false) => return None,
        Ok(true) => find(database, slot).await,
        Err(error) => Err(away(error)),
    };
    Some(Check::new(format!("fail-over of slot {slot}"), found))
}

async fn find(database: &Database, slot: &str) -> Result<String, Failure> {
    let named = server::setting(database, "synchronized_standby_slots").await?;
    let ours = format!(
        "SELECT failover::text FROM pg_replication_slots WHERE slot_name = {} AND database = current_database()",
        literal(slot)
    );
    let ours = database.texts(ours).await.map_err(away)?;
    let ours = ours.first().map(|row| row[0].as_deref() == Some("true"));
    // A standby that can keep our slot sends feedback, which holds an xmin; an archiver's slot never has one.
    let standbys = "SELECT slot_name::text, active::text FROM pg_replication_slots \
                    WHERE slot_type = 'physical' AND (xmin IS NOT NULL OR catalog_xmin IS NOT NULL OR active)";
    let standbys = database.texts(standbys.to_owned()).await.map_err(away)?;
    let standby =
        |row: &Vec<Option<String>>| Some(Standby { name: row[0].clone()?, active: row[1].as_deref() == Some("true") });
    judge(slot, ours, &standbys.iter().filter_map(standby).collect::<Vec<_>>(), &named)
}

/// `ours`: whether our slot, where there is one, is to be carried. Pure.
fn judge(slot: &str, ours: Option<bool>, standbys: &[Standby], named: &str) -> Result<String, Failure> {
    match ours {
        None => return Ok("ingest will create the slot so that standbys take it over".to_owned()),
        Some(false) => {
            return Ok("no standby takes it over: after a fail-over the log begins with a gap. Stop ingest and run \
                       ALTER_REPLICATION_SLOT ... (FAILOVER true) on a replication connection"
                .to_owned());
        }
        Some(true) => {}
    }
    let named: Vec<&str> =
        named.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty()).collect();
    if let Some(absent) = named.iter().find(|name| !standbys.iter().any(|known| known.name == **name && known.active)) {
        let what =
            format!("synchronized_standby_slots names {absent}, which no standby streams from: ingest gets nothing");
        return Err(Failure::configuration(what).remedy("start that standby, or take the name out and reload"));
    }
    let Some(first) = standbys.first() else { return Ok("to be carried, and no standby is there".to_owned()) };
    if named.is_empty() {
        let what = format!("slot {slot} may run ahead of the standby behind slot {}", first.name);
        return Err(Failure::configuration(what).remedy(format!(
            "run ALTER SYSTEM SET synchronized_standby_slots = '{}' and SELECT pg_reload_conf(), or a fail-over may forget \
             what has been published",
            first.name
        )));
    }
    Ok(format!("waits for {}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_may_run_ahead_is_refused() {
        let check = |ours, standbys: &[(&str, bool)], named: &str, says: Result<&str, &str>| {
            let standbys: Vec<_> =
                standbys.iter().map(|(name, active)| Standby { name: (*name).to_owned(), active: *active }).collect();
            let judged = judge("lockstep", ours, &standbys, named).map_err(|failure| failure.to_string());
            let holds = match (&judged, says) {
                (Ok(text), Ok(says)) | (Err(text), Err(says)) => text.contains(says),
                _ => false,
            };
            assert!(holds, "{judged:?} where {says:?} was expected");
        };
        check(None, &[("a", true)], "", Ok("will create"));
        check(Some(false), &[("a", true)], "", Ok("no standby takes it over"));
        check(Some(true), &[], "", Ok("no standby is there"));
        check(Some(true), &[("a", true)], "", Err("synchronized_standby_slots = 'a'"));
        check(Some(true), &[("a", true), ("b", false)], "a", Ok("waits for a"));
        check(Some(true), &[("a", false)], "a", Err("no standby streams from"));
        check(Some(true), &[("a", true)], "a, \"gone\"", Err("names gone"));
    }
}
