//! The history that a session goes on with, or begins.

use lockstep_process::Failure;
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_source::epoch::{self, Epoch};
use lockstep_source::{Database, preflight};

use super::doubt::{LogState, doubt};

/// Which history this is, and where in it we are.
pub(super) struct History {
    pub epoch: Epoch,
    /// Everything that ends before it is in Kafka, or before our time.
    pub confirmed: Lsn,
    /// Why it is a new one, where it is.
    pub new_because: Option<&'static str>,
}

/// Finds out which history this is: the same as before, or, on any doubt, a new epoch. Makes the slot, and nothing else.
pub(super) async fn establish(database: &Database, slot_name: &str, log: &LogState) -> Result<History, Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    let known = epoch::current(database).await.map_err(away)?;
    let (system_identifier, timeline) = epoch::server_identity(database).await.map_err(away)?;
    preflight::insist_on_slot(database, slot_name).await?;
    let slot = preflight::slot(database, slot_name).await.map_err(away)?;
    let log_end = epoch::log_end(database).await.map_err(away)?;
    if let Some(pid) = slot.as_ref().and_then(|slot| slot.active_pid.clone()) {
        return Err(Failure::unavailable(format!("slot {slot_name} is in use by process {pid}")));
    }
    let doubt = doubt(known.as_ref(), (&system_identifier, &timeline), (slot.as_ref(), log_end), log);
    if let (None, Some(epoch), Some(checkpoint)) = (&doubt, &known, &log.checkpoint) {
        // After a crash the server's slot may stand where it stood at its last checkpoint; ours is further.
        return Ok(History { epoch: epoch.clone(), confirmed: checkpoint.confirmed, new_because: None });
    }
    let lost = slot.as_ref().is_some_and(|slot| slot.wal_status == "lost");
    if lost {
        return Err(Failure::configuration(format!("slot {slot_name} has lost its log (wal_status = lost)")).remedy(
            format!(
                "run SELECT pg_drop_replication_slot('{slot_name}'); ingest then begins a new epoch with a new slot"
            ),
        ));
    }
    let confirmed = match slot {
        Some(slot) => slot.confirmed_flush,
        None => preflight::create_slot(database, slot_name).await.map_err(|error| {
            if !error.is_refusal() {
                return away(error);
            }
            Failure::configuration(format!("can't create slot {slot_name}"))
                .because(error)
                .remedy("grant REPLICATION to our user, and check max_replication_slots")
        })?,
    };
    let greatest = epoch::greatest(database).await.map_err(away)?;
    let known_to_kafka = log.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.epoch);
    let epoch =
        Epoch { number: greatest.max(known_to_kafka) + 1, system_identifier, timeline, slot: slot_name.to_owned() };
    Ok(History { epoch, confirmed, new_because: Some(doubt.unwrap_or("first start")) })
}

/// Writes a new epoch down, once its log can be read: an attempt that comes to nothing uses up no number.
pub(super) async fn begin(database: &Database, history: &History, reason: &str) -> Result<Control, Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    epoch::begin(database, &history.epoch, reason).await.map_err(away)?;
    let number = history.epoch.number;
    tracing::warn!(epoch = number, reason, "a new epoch begins");
    let position = Position::before(number, history.confirmed);
    Ok(Control { kind: ControlKind::Epoch, position, xid: 0, table: None })
}
