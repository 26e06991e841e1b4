//! The end of a version: its entries are removed, by the rule for entries beyond their age, and it is made sure that no reader
//! fills them again.

use std::time::Duration;

use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::View;
use lockstep_tiers::Read;

use super::entities::Entities;

const ANY_AGE: Duration = Duration::from_millis(1);
/// A reader of this version that is at work leaves an entry within so long: the lease that a removal leaves behind has run out.
const READERS_WAIT: Duration = Duration::from_secs(4);

/// Removes every entry of a version; how many there were. An error: somebody still reads and fills it.
pub(super) async fn remove(entities: &Entities<'_>, view: &View, shutdown: &Shutdown) -> Result<u64, Failure> {
    let place = |entity: &str| entities.tier.layout().place(&view.group, entity);
    let mut removed = 0;
    let call = |entity: String| async move {
        let (place, key) = (place(&entity), view.key.key(&entity));
        if entities.tier.entry(&place, &key).await?.is_empty() {
            return Ok(0);
        }
        let found = entities.tier.read_within(&place, &key, None, Some(ANY_AGE)).await?;
        Ok(u64::from(!matches!(found, Read::Hit(_))))
    };
    entities.each(view, shutdown, call, |count| removed += count).await?;
    if removed == 0 || shutdown.is_cancelled() {
        return Ok(removed);
    }
    shutdown.run_until_cancelled(tokio::time::sleep(READERS_WAIT)).await;
    let mut filled = 0_u64;
    let call = |entity: String| async move {
        let there = entities.tier.entry(&place(&entity), &view.key.key(&entity)).await?;
        Ok(u64::from(!there.is_empty()))
    };
    entities.each(view, shutdown, call, |count| filled += count).await?;
    if filled > 0 {
        let why = format!("{filled} entries of the version that is to go were filled again: somebody still reads it");
        return Err(Failure::new(FailureKind::NotYet, why)
            .remedy("find the gateway whose log lacks the last switch of versions, start it anew, and say it again"));
    }
    Ok(removed)
}
