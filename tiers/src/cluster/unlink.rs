//! What a raised floor has killed goes from one slot, so that little is left to be handed over.

use std::num::NonZeroU32;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::key::MARKER_SUFFIX;

use super::{Cluster, Primary, of_slot};
use crate::layout::Place;
use crate::reply;
use crate::tier::Tier;
use crate::tier_error::TierError;

/// Names of one look; what is alive stands among them again and again, so it grows where nothing else is found.
const LOOK: usize = 5_000;
const LOOK_MAX: usize = 2_000_000;
/// Entries of one call.
const ENTRIES_MAX: usize = 100;

impl Cluster {
    /// Removes the entries of a slot that lie below the floors of its places, so many a second at most; `told` hears how many
    /// there were so far.
    pub async fn unlink(
        &self,
        tier: &Tier,
        slot: u16,
        places: &[Place],
        entries_per_second: NonZeroU32,
        shutdown: &Shutdown,
        mut told: impl FnMut(u64),
    ) -> Result<u64, TierError> {
        let Some(owner) = self.owner(slot) else { return Ok(0) };
        let (mut all, mut look) = (0, LOOK);
        while !shutdown.is_cancelled() {
            let names = owner.names(slot, look).await?;
            let mut swept = 0;
            for place in places {
                let head = tier.layout().head(place);
                let watermark = tier.layout().watermark(place);
                let is_entry =
                    |name: &&String| name.starts_with(&head) && **name != watermark && !name.ends_with(MARKER_SUFFIX);
                let entries: Vec<String> = names.iter().filter(is_entry).cloned().collect();
                for some in entries.chunks(ENTRIES_MAX) {
                    swept += reply::sweep(tier.link.call(&tier.calls.sweep(place, some)).await?)?;
                    told(all + swept);
                    let pause = Duration::from_secs(1) * some.len() as u32 / entries_per_second.get();
                    shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
                    if shutdown.is_cancelled() {
                        break;
                    }
                }
            }
            all += swept;
            if swept == 0 {
                if names.len() < look || look >= LOOK_MAX {
                    break;
                }
                look *= 2;
            }
        }
        Ok(all)
    }
}

impl Primary {
    async fn names(&self, slot: u16, most: usize) -> Result<Vec<String>, TierError> {
        let mut command = of_slot("GETKEYSINSLOT", slot);
        command.arg(most);
        let names: Vec<Vec<u8>> = self.ask(command).await?;
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
    }
}
