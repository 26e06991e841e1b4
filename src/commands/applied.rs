//! Waiting until tiers have applied what the log has.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::{Lsn, Position};
use lockstep_source::{Database, DatabaseError, epoch};
use lockstep_tiers::Place;
use tokio::time::Instant;

use super::status::{Reached, Watermarks};

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Everything before an LSN of the running epoch.
pub(crate) async fn position_before(database: &Database, lsn: Lsn) -> Result<Position, Failure> {
    let current = epoch::current(database).await.map_err(away)?;
    let current = current.ok_or_else(|| {
        Failure::new(FailureKind::NotYet, "no epoch has begun").remedy("start ingest: lockstep run --role ingest")
    })?;
    Ok(Position::before(current.number, lsn))
}

/// A database that does not answer.
pub(crate) fn away(error: DatabaseError) -> Failure {
    Failure::unavailable("the database").because(error)
}

/// Waits until a tier has applied everything before a position in each of these places; returns those in which it had not
/// at the deadline.
pub(crate) async fn behind(
    watermarks: &Watermarks,
    tier: TierName,
    mut places: Vec<Place>,
    wanted: Position,
    deadline: Instant,
) -> Result<Vec<Place>, Failure> {
    loop {
        let mut still = Vec::new();
        for place in places.drain(..) {
            // A look that takes longer than all the time there is has seen nothing.
            let reached = tokio::time::timeout_at(deadline, watermarks.read(tier, &place)).await;
            let reached = reached.map_or(Ok(None), |reached| reached)?;
            // A tier of a later epoch than the database's has applied nothing of this history.
            let has_reached = |reached: &Reached| reached.position.epoch == wanted.epoch && reached.position >= wanted;
            if !reached.as_ref().is_some_and(has_reached) {
                still.push(place);
            }
        }
        if still.is_empty() || Instant::now() >= deadline {
            return Ok(still);
        }
        places = still;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
