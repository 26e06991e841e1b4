//! The sweep after a raised floor. What lies below it is dead already, and no reader sees it; but entries that nobody asks for
//! would hold their memory until their time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::policy::{Policy, View};
use tokio::time::Instant;

use crate::layout::{Layout, Place};
use crate::link::Primary;
use crate::reply;
use crate::tier::Tier;
use crate::tier_error::TierError;

/// Names of one answer to SCAN, about.
const PAGE: u32 = 250;
/// Entries of one call.
const ENTRIES_MAX: usize = 100;

/// What a sweep has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Names that were looked at, of whomever.
    pub looked: u64,
    /// Entries that lay below the floor of their place, and are gone.
    pub swept: u64,
}

/// Looks once at every name of a tier, so many a second at most, and removes the entries of some places that lie below their
/// floors. One pass serves all places, however many floors were raised; an error leaves the rest to another pass. What moves
/// to another node meanwhile may be missed: it goes by its own time.
pub async fn sweep(
    tier: &Tier,
    policy: &Policy,
    places: &BTreeSet<Place>,
    names_per_second: NonZeroU32,
    shutdown: &Shutdown,
) -> Result<Swept, TierError> {
    let mut pass =
        Pass { tier, finder: Finder::new(tier, policy, places), found: BTreeMap::new(), swept: Swept::default() };
    let mut pace = Pace { next_at: Instant::now(), names_per_second };
    for primary in tier.link.primaries().await? {
        let mut cursor = 0;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(pass.swept),
                () = pace.passed() => {}
            }
            let (next, names) = scan(tier, &primary, cursor).await?;
            pace.count(names.len());
            pass.take(names).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    pass.finish().await
}

async fn scan(tier: &Tier, primary: &Primary, cursor: u64) -> Result<(u64, Vec<Vec<u8>>), TierError> {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("COUNT").arg(PAGE);
    let answer = tier.link.send_to(primary, command).await?;
    Ok(redis::from_redis_value(answer).map_err(redis::RedisError::from)?)
}

struct Pace {
    next_at: Instant,
    names_per_second: NonZeroU32,
}

impl Pace {
    async fn passed(&self) {
        tokio::time::sleep_until(self.next_at).await;
    }

    fn count(&mut self, names: usize) {
        let names = u32::try_from(names).unwrap_or(u32::MAX);
        self.next_at = Instant::now() + Duration::from_secs(1) * names / self.names_per_second.get();
    }
}

/// One pass over a tier: names found, by place, until there are enough for a call.
struct Pass<'a> {
    tier: &'a Tier,
    finder: Finder,
    found: BTreeMap<Place, Vec<String>>,
    swept: Swept,
}

impl Pass<'_> {
    async fn take(&mut self, names: Vec<Vec<u8>>) -> Result<(), TierError> {
        for name in names {
            self.swept.looked += 1;
            let Some((place, name)) = self.finder.entry(name) else { continue };
            let waiting = self.found.entry(place.clone()).or_default();
            waiting.push(name);
            if waiting.len() >= ENTRIES_MAX {
                self.call(&place).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Swept, TierError> {
        let places: Vec<Place> = self.found.keys().cloned().collect();
        for place in places {
            self.call(&place).await?;
        }
        Ok(self.swept)
    }

    async fn call(&mut self, place: &Place) -> Result<(), TierError> {
        let entries = self.found.remove(place).unwrap_or_default();
        let answer = self.tier.link.call(&self.tier.calls.sweep(place, &entries)).await?;
        self.swept.swept += reply::sweep(answer)?;
        Ok(())
    }
}

/// Tells which names are entries of which place.
struct Finder {
    layout: Arc<Layout>,
    places: BTreeSet<Place>,
    /// Of a cluster: what stands before the entry's own name.
    heads: Option<BTreeMap<String, Place>>,
    views: Vec<Arc<View>>,
}

impl Finder {
    fn new(tier: &Tier, policy: &Policy, places: &BTreeSet<Place>) -> Self {
        let layout = tier.layout().clone();
        let views = policy.views.values().filter(|view| view.tier == tier.name).cloned().collect();
        let head = |place: &Place| (layout.head(place), place.clone());
        let heads = tier.calls.is_tagged().then(|| places.iter().map(head).collect());
        Finder { places: places.clone(), heads, views, layout }
    }

    /// The place of an entry, where it is one of those that are swept; markers and watermarks are no entries.
    fn entry(&self, name: Vec<u8>) -> Option<(Place, String)> {
        let name = String::from_utf8(name).ok().filter(|name| !name.ends_with(MARKER_SUFFIX))?;
        let place = match &self.heads {
            Some(heads) => {
                let tagged = name.find("}:").map(|end| name.split_at(end + 2));
                let (head, rest) = tagged.filter(|(_, rest)| *rest != "_w")?;
                heads.get(head).filter(|_| !rest.is_empty()).cloned()
            }
            None => self.of_entity(name.strip_prefix(self.layout.namespace())?),
        };
        Some((place.filter(|place| self.places.contains(place))?, name))
    }

    /// Plain names say no place, but their entity does.
    fn of_entity(&self, key: &str) -> Option<Place> {
        let of_view = |view: &Arc<View>| Some(self.layout.place(&view.group, view.key.entity_of(key)?));
        self.views.iter().find_map(of_view)
    }
}
