//! Watches from the side: where the log ends, what PostgreSQL keeps for our slot, that the slot moves although our
//! database is idle, and that the publication carries what it must.

use std::time::Duration;

use lockstep_schemas::position::Lsn;
use lockstep_schemas::signal::Signal;
use lockstep_source::{Database, DatabaseError, chunk, log_end, preflight};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::members::Members;
use crate::metrics::IngestMetrics;

const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Other databases have written so much, and our slot has not moved: then our own database shall say a word, for the slot to
/// move past theirs. (An idle server writes less than this between two looks, our word included.)
const FOREIGN_BYTES_MIN: u64 = 64 << 10;

/// The log's end is looked at this often where it moves: so much older may the time be up to which the log is complete.
const MARK_INTERVAL: Duration = Duration::from_millis(500);
/// Where it stands still, a look comes just when progress is due, which then is as new as can be.
const MARK_AFTER_DUE: Duration = Duration::from_millis(10);

/// Looks where the log ends for as long as it is awaited; where nothing happens, as seldom as that is said, until something
/// comes from the server.
pub(crate) async fn mark(
    database: &Database,
    marks: &mpsc::Sender<(Lsn, i64)>,
    idle_interval: Duration,
    something_came: &Notify,
) {
    let mut stood_at = None;
    loop {
        let looked_at = Instant::now();
        let is_still = match log_end(database).await {
            Ok(mark) => {
                let is_still = stood_at.replace(mark.0) == Some(mark.0);
                // One that has no place is not missed: others come.
                let _ = marks.try_send(mark);
                is_still
            }
            Err(error) => {
                tracing::debug!(%error, "the log's end can't be looked at");
                false
            }
        };
        if is_still {
            let due = tokio::time::sleep_until(looked_at + idle_interval + MARK_AFTER_DUE);
            tokio::select! {
                () = due => {}
                () = something_came.notified() => {}
            }
        }
        tokio::time::sleep_until(looked_at + MARK_INTERVAL).await;
    }
}

/// Looks at slot and publication for as long as it is awaited.
pub(crate) async fn watch(database: &Database, slot: &str, mut members: Members<'_>, metrics: &IngestMetrics) {
    let (mut stood_at, mut is_blind) = (None, false);
    loop {
        match look(database, slot, metrics, stood_at).await {
            Ok(stands_at) => stood_at = stands_at,
            Err(error) => tracing::debug!(%error, "the slot can't be looked at"),
        }
        let looked = members.look(database).await;
        if let Err(error) = &looked
            && !is_blind
        {
            tracing::warn!(%error, "the publication can't be looked at; a table that leaves it goes unnoticed meanwhile");
        }
        is_blind = looked.is_err();
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Where the slot stands.
async fn look(
    database: &Database,
    name: &str,
    metrics: &IngestMetrics,
    stood_at: Option<Lsn>,
) -> Result<Option<Lsn>, DatabaseError> {
    let Some(slot) = preflight::slot(database, name).await? else { return Ok(None) };
    metrics.retained.set(i64::try_from(slot.retained_bytes).unwrap_or(i64::MAX));
    metrics.unread.set(i64::try_from(slot.unread_bytes).unwrap_or(i64::MAX));
    if stood_at == Some(slot.confirmed_flush) && slot.unread_bytes >= FOREIGN_BYTES_MIN {
        chunk::send(database, &Signal::Heartbeat).await?;
    }
    Ok(Some(slot.confirmed_flush))
}
