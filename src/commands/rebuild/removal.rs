//! The end of a version: its entries are removed, and it is made sure that no reader fills them again.

use std::time::Duration;

use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::View;

use super::entities::Entities;

/// A reader of this version that is at work leaves an entry within so long.
const READERS_WAIT: Duration = Duration::from_secs(2);
/// The engine may fill one again, whose row changed at that very moment; readers do it each time.
const ATTEMPTS_MAX: u32 = 4;

/// Removes every entry of a version until none comes back; how many there were. An error: somebody still reads and fills it.
pub(super) async fn remove_for_good(entities: &Entities<'_>, view: &View, shutdown: &Shutdown) -> Result<u64, Failure> {
    let mut removed = remove(entities, view, shutdown).await?;
    let mut came_back = removed;
    for _ in 0..ATTEMPTS_MAX {
        if came_back == 0 || shutdown.is_cancelled() {
            return Ok(removed);
        }
        shutdown.run_until_cancelled(tokio::time::sleep(READERS_WAIT)).await;
        came_back = remove(entities, view, shutdown).await?;
        removed += came_back;
    }
    if came_back == 0 {
        return Ok(removed);
    }
    let why = format!("{came_back} entries of the version that is to go were filled again: somebody still reads it");
    Err(Failure::new(FailureKind::NotYet, why)
        .remedy("find the gateway whose log lacks the last switch of versions, start it anew, and say it again"))
}

/// Removes every entry of a version that there is now; how many there were.
pub(super) async fn remove(entities: &Entities<'_>, view: &View, shutdown: &Shutdown) -> Result<u64, Failure> {
    let mut removed = 0;
    let call = |entity: String| async move {
        let place = entities.tier.layout().place(&view.group, &entity);
        entities.tier.forget(&place, &view.key.key(&entity)).await
    };
    entities.each(view, shutdown, call, |was_there| removed += u64::from(was_there)).await?;
    Ok(removed)
}
