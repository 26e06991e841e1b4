//! Ingest's part of the status.

use lockstep_process::config::Config;
use lockstep_schemas::progress::Progress;
use lockstep_source::preflight::{self, Slot};
use lockstep_source::{Database, DatabaseError};

use super::report::IngestStatus;
use super::state::{self, State};
use super::{Failure, newest_progress, seconds_since};

/// A look at what ingest has said, and at its slot, where the database answers: status is also for hours when it is away.
pub(super) struct Look {
    progress: Option<Progress>,
    database: Option<Database>,
    slot: Option<Slot>,
}

impl Look {
    /// The first one. A database that is away is not asked again.
    pub async fn first(config: &Config) -> Result<Self, Failure> {
        let database = async { Database::connect(config.database().ok()?, "lockstep-status").await.ok() };
        Look { progress: None, database: database.await, slot: None }.again(config).await
    }

    /// Another.
    pub async fn again(&self, config: &Config) -> Result<Self, Failure> {
        let database = self.database.clone();
        let slot = match (&database, config.database()) {
            (Some(database), Ok(config)) => preflight::slot(database, &config.slot).await.ok().flatten(),
            _ => None,
        };
        // After the slot: its end of the log is then not beyond what the progress could know of.
        Ok(Look { progress: newest_progress(config.kafka()?).await?, database, slot })
    }

    /// Bytes of the log between what is in Kafka and its end. What the slot has acknowledged follows only now and then.
    fn bytes_behind(&self) -> Option<i64> {
        let (slot, progress) = (self.slot.as_ref()?, self.progress.as_ref()?);
        let end = slot.confirmed_flush.0.saturating_add(slot.unread_bytes);
        i64::try_from(end.saturating_sub(progress.position.lsn.0)).ok()
    }
}

/// What two looks say, so many seconds apart.
pub(super) async fn status(before: &Look, now: &Look, between_seconds: f64) -> IngestStatus {
    let age = now.progress.as_ref().map(|progress| seconds_since(progress.at));
    let position = |look: &Look| look.progress.as_ref().map(|progress| progress.position);
    let unread_bytes = now.slot.as_ref().map(|slot| slot.unread_bytes);
    let state = state::of_ingest(age, unread_bytes, position(before) != position(now));
    let catch_up_seconds = match (state, before.bytes_behind(), now.bytes_behind()) {
        (State::Behind, Some(before), Some(now)) => state::catch_up_seconds(before, now, between_seconds),
        _ => None,
    };
    IngestStatus {
        state,
        position: position(now).map(|position| position.to_string()),
        seconds_behind: age,
        catch_up_seconds,
        retained_wal_bytes: now.slot.as_ref().map(|slot| slot.retained_bytes),
        streaming_pid: now.slot.as_ref().and_then(|slot| slot.active_pid.clone()),
        standing_by: standing_by(now.database.as_ref()).await.ok().flatten(),
    }
}

async fn standing_by(database: Option<&Database>) -> Result<Option<usize>, DatabaseError> {
    let Some(database) = database else { return Ok(None) };
    preflight::clients(database, lockstep_ingest::STANDBY_APPLICATION).await.map(Some)
}
