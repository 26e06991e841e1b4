//! Follows which history the database is of.

use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::history::{History, Known};
use tokio::time::Instant;

use crate::database::{Database, DatabaseError, required};
use crate::epoch;

const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Doubted, it is looked at at once, but no oftener than this.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Follows the database until shutdown. While it does not answer, what it said last holds.
pub fn follow(database: Database, shutdown: Shutdown) -> History {
    let (teller, history) = History::new();
    tokio::spawn(async move {
        while !shutdown.is_cancelled() {
            match look(&database).await {
                Ok(known) => drop(teller.tell.send_replace(Some(known))),
                Err(error) => tracing::debug!(%error, "the database's history is not known"),
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = teller.doubted() => {}
                () = shutdown.cancelled() => {}
            }
        }
    });
    history
}

/// A server in recovery has no such answer.
async fn look(database: &Database) -> Result<Known, DatabaseError> {
    let asked_at = Instant::now();
    let sql = format!(
        "SELECT coalesce({}, 0)::text, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)",
        epoch::newest_of(database.slot())
    );
    let rows = database.texts(sql).await?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let number = required(row, 0, "an epoch")?;
    let epoch =
        number.parse().map_err(|_| DatabaseError::Answer { expected: "an epoch", answer: number.to_owned() })?;
    Ok(Known { asked_at, epoch, timeline: required(row, 1, "a timeline")?.to_owned() })
}
