//! The server's settings, its clock, and what our user may do.

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;

use super::{Check, away};
use crate::database::{Database, identifier, literal};

/// Clocks further apart than this make ages that nobody can read.
const CLOCK_SKEW_MAX_MS: i64 = 1_000;

pub(super) async fn checks(database: &Database) -> Vec<Check> {
    vec![wal_level(database).await, wal_keep(database).await, clock(database).await]
}

pub(super) async fn setting(database: &Database, name: &str) -> Result<String, Failure> {
    let rows = database.texts(format!("SHOW {name}")).await.map_err(away)?;
    Ok(rows.into_iter().next().and_then(|mut row| row.remove(0)).unwrap_or_default())
}

pub(super) async fn wal_level(database: &Database) -> Check {
    let found = setting(database, "wal_level").await.and_then(|level| {
        if level == "logical" {
            return Ok(level);
        }
        Err(Failure::configuration(format!("the database's wal_level is {level}; its log can't be read"))
            .remedy("run ALTER SYSTEM SET wal_level = 'logical' and restart PostgreSQL"))
    });
    Check::new("wal_level", found)
}

/// Without a bound, a slot that nobody reads fills the database's disk. That is the operator's choice, and is said. With a
/// bound below what the server itself writes between two of its checkpoints, one restart of ours can cost the slot.
async fn wal_keep(database: &Database) -> Check {
    let found = async {
        let size = setting(database, "max_slot_wal_keep_size").await?;
        if size == "-1" {
            return Ok("unbounded: if Lockstep is down for long, the log fills the disk; consider a bound".to_owned());
        }
        let wal_max = setting(database, "max_wal_size").await?;
        let sql = format!("SELECT (pg_size_bytes({}) < pg_size_bytes({}))::text", literal(&size), literal(&wal_max));
        let less = database.texts(sql).await.map_err(away)?;
        if less.first().and_then(|row| row[0].as_deref()) != Some("true") {
            return Ok(size);
        }
        let what = format!("max_slot_wal_keep_size is {size}, and between two checkpoints the server writes {wal_max}");
        Err(Failure::configuration(what).remedy(
            "a slot that stands still for so long is lost: run ALTER SYSTEM SET max_slot_wal_keep_size to what an hour of \
             the shop writes, at least to max_wal_size, and SELECT pg_reload_conf()",
        ))
    };
    Check::new("max_slot_wal_keep_size", found.await)
}

async fn clock(database: &Database) -> Check {
    let asked = now_micros();
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text".to_owned();
    let found = database.texts(sql).await.map_err(away).and_then(|rows| {
        let there: Option<i64> = rows.first().and_then(|row| row[0].as_deref()).and_then(|text| text.parse().ok());
        let here = i64::midpoint(asked, now_micros());
        let skew_ms = there.map_or(0, |there| (there - here) / 1_000);
        if skew_ms.abs() <= CLOCK_SKEW_MAX_MS {
            return Ok(format!("{skew_ms} ms apart"));
        }
        Err(Failure::configuration(format!("the database's clock is {skew_ms} ms from ours"))
            .remedy("run NTP on both; nothing but the ages in status and metrics depends on it"))
    });
    Check::new("clock", found)
}

/// What our user must be allowed to, besides reading the tables (which the other checks have done).
pub(super) async fn privileges(database: &Database) -> Check {
    Check::new("privileges", held(database).await)
}

async fn held(database: &Database) -> Result<String, Failure> {
    let sql = "SELECT rolname, (rolreplication OR rolsuper)::text, \
               coalesce(has_schema_privilege(to_regnamespace('lockstep')::oid, 'USAGE'), false)::text \
               FROM pg_roles WHERE rolname = current_user";
    let rows = database.texts(sql.to_owned()).await.map_err(away)?;
    let row = rows.first();
    let user = row.and_then(|row| row[0].as_deref()).map(identifier).unwrap_or_default();
    let is_true = |at: usize| row.and_then(|row| row[at].as_deref()) == Some("true");
    let hidden = || {
        Failure::configuration("the table lockstep.epoch is not there, or hidden from us").remedy(format!(
            "apply what `lockstep setup --print-sql` prints; where the table is there, run GRANT USAGE ON SCHEMA lockstep \
             TO {user}"
        ))
    };
    if !is_true(1) {
        return Err(Failure::configuration("our user may not replicate")
            .remedy(format!("run ALTER ROLE {user} REPLICATION, as a superuser")));
    }
    if !is_true(2) {
        return Err(hidden());
    }
    let sql = "SELECT (has_table_privilege('lockstep.epoch', 'SELECT') AND has_table_privilege('lockstep.epoch', 'INSERT'))::text";
    let rows = database.texts(sql.to_owned()).await.map_err(|error| match error.is_of_statement() {
        true => hidden().because(error),
        false => away(error),
    })?;
    if rows.first().and_then(|row| row[0].as_deref()) != Some("true") {
        return Err(Failure::configuration("our user may not write lockstep.epoch")
            .remedy(format!("run GRANT SELECT, INSERT ON lockstep.epoch TO {user}")));
    }
    Ok("replication, and lockstep.epoch".to_owned())
}
