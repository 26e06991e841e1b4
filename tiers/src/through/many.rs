//! The same of many: entries that an action took from their readers, under leases, and those that a filler claims.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use lockstep_schemas::entry::Loaded;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::View;
use lockstep_schemas::position::Position;

use super::{ThroughError, Tiers};
use crate::layout::Place;
use crate::tier::{Claims, ENTRIES_MAX, Fill, Filled, Found, LEASE};
use crate::tier_error::TierError;

/// The right to fill one of many missing entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Which.
    pub entity: String,
    /// The lease's name.
    pub nonce: Arc<str>,
    /// Where the tier stood when it was granted, or further: what is read from now on holds all changes up to here.
    pub low: Position,
}

/// The right to fill some missing entries of a place, until somebody else wants one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    place: Place,
    bookmark: String,
    low: Position,
    /// When it was asked for.
    since: Instant,
    entities: Vec<String>,
    /// Under which names they were claimed.
    keys: Vec<Key>,
}

/// What a look at many entities finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// How many are there.
    pub there: u64,
    /// How many somebody else is filling.
    pub busy: u64,
    /// Those that are missing, and ours to fill.
    pub claims: Vec<Claim>,
}

/// What became of leased or claimed entries; what is neither can't be cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// How many were filled.
    pub filled: u64,
    /// How many somebody else wanted meanwhile, or could not be filled from what was read: they may be another time.
    pub void: u64,
}

impl Tiers {
    /// Looks at entities, and claims those that the tier lacks for a run of a filler, which claims nothing twice at a time.
    pub async fn claim_many(&self, view: &View, run: &str, entities: Vec<String>) -> Result<Looked, TierError> {
        let tier = self.of(view);
        let mut places: BTreeMap<Place, Vec<Vec<String>>> = BTreeMap::new();
        for entity in entities {
            let calls = places.entry(tier.layout().place(&view.group, &entity)).or_default();
            match calls.last_mut() {
                Some(call) if call.len() < ENTRIES_MAX => call.push(entity),
                _ => calls.push(vec![entity]),
            }
        }
        let calls =
            places.into_iter().flat_map(|(place, calls)| calls.into_iter().map(move |call| (place.clone(), call)));
        let mut calls: FuturesUnordered<_> = calls
            .map(async |(place, entities)| {
                let keys: Vec<Key> = entities.iter().map(|entity| self.key(view, entity)).collect();
                let since = Instant::now();
                let claims = tier.claim(&place, &keys, run).await;
                (place, entities, since, claims, keys)
            })
            .collect();
        let mut looked = Looked { there: 0, busy: 0, claims: Vec::new() };
        while let Some((place, mut entities, since, claims, mut keys)) = calls.next().await {
            let Claims { position: low, bookmark, found, .. } = claims?;
            let count = |wanted: Found| found.iter().filter(|found| **found == wanted).count() as u64;
            looked.there += count(Found::Hit);
            looked.busy += count(Found::Busy);
            let mut all = found.iter();
            entities.retain(|_| all.next() == Some(&Found::Claim));
            let mut all = found.iter();
            keys.retain(|_| all.next() == Some(&Found::Claim));
            if !keys.is_empty() {
                looked.claims.push(Claim { place, bookmark, low, since, entities, keys });
            }
        }
        Ok(looked)
    }

    /// Loads claimed entities and fills them together.
    pub async fn settle_many(&self, view: &View, mut claims: Vec<Claim>) -> Result<Settled, ThroughError> {
        let entities: Vec<String> = claims.iter_mut().flat_map(|claim| std::mem::take(&mut claim.entities)).collect();
        let loaded = self.loader.load(view, &entities).await?;
        let (tier, mut loaded) = (self.of(view), of_each(&entities, &loaded));
        let fills: Vec<(&Claim, Vec<(&Key, Fill<'_>)>)> = claims
            .iter()
            .map(|claim| {
                let fill = |(key, loaded): (_, Option<_>)| Some((key, claim.fill(view, loaded?)));
                (claim, claim.keys.iter().zip(loaded.by_ref()).filter_map(fill).collect())
            })
            .collect();
        let calls = fills.iter().map(async |(claim, fills)| {
            // Later than this the claims may have run out, and a copy of this one that comes late would bring it back [19e].
            if claim.since.elapsed() >= LEASE {
                return Ok(vec![Filled::Void; fills.len()]);
            }
            let fills: Vec<_> = fills.iter().map(|(key, fill)| (*key, fill)).collect();
            tier.settle_many(&claim.place, &fills).await
        });
        let large = fills.iter().flat_map(|(_, fills)| fills).filter(|(_, fill)| fill.is_too_large()).count();
        settled(calls.collect(), large).await
    }

    /// Loads entities and fills them together, each under its own lease.
    pub async fn fill_many(&self, view: &View, leased: Vec<Leased>) -> Result<Settled, ThroughError> {
        let (entities, leases): (Vec<String>, Vec<(Arc<str>, Position)>) =
            leased.into_iter().map(|lease| (lease.entity, (lease.nonce, lease.low))).unzip();
        let loaded = self.loader.load(view, &entities).await?;
        let tier = self.of(view);
        let mut places: BTreeMap<Place, Vec<(Key, Fill<'_>)>> = BTreeMap::new();
        for (one, (nonce, low)) in of_each(&entities, &loaded).zip(&leases) {
            let Some(one) = one else { continue };
            let fill = Fill {
                nonce,
                low: *low,
                high: one.high,
                source_at: Position::GREATEST,
                timeline: &one.timeline,
                ttl: view.ttl,
                fields: one.fields.as_ref(),
            };
            let place = tier.layout().place(&view.group, &one.entity);
            places.entry(place).or_default().push((self.key(view, &one.entity), fill));
        }
        let calls = places.iter().map(async |(place, fills)| {
            let fills: Vec<_> = fills.iter().map(|(key, fill)| (key, fill)).collect();
            tier.fill_many(place, &fills).await
        });
        let large = places.values().flatten().filter(|(_, fill)| fill.is_too_large()).count();
        settled(calls.collect(), large).await
    }
}

impl Claim {
    /// How many entries it is of.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    fn fill<'f>(&'f self, view: &View, loaded: &'f Loaded) -> Fill<'f> {
        Fill {
            nonce: &self.bookmark,
            low: self.low,
            high: loaded.high,
            source_at: Position::GREATEST,
            timeline: &loaded.timeline,
            ttl: view.ttl,
            fields: loaded.fields.as_ref(),
        }
    }
}

/// What was loaded of each entity, in the order of asking; of one that can't exist, nothing. Should the database tell two
/// rows of an entity, the first one counts.
fn of_each<'l>(entities: &'l [String], loaded: &'l [Loaded]) -> impl Iterator<Item = Option<&'l Loaded>> {
    let mut loaded = loaded.iter().peekable();
    entities.iter().map(move |entity| {
        let first = loaded.next_if(|one| one.entity == *entity);
        while loaded.next_if(|one| one.entity == *entity).is_some() {}
        first
    })
}

/// What some calls came to, of whose fills so many are too large for any tier.
async fn settled(
    mut calls: FuturesUnordered<impl Future<Output = Result<Vec<Filled>, TierError>>>,
    large: usize,
) -> Result<Settled, ThroughError> {
    let (mut all, mut filled) = (0, 0);
    while let Some(call) = calls.next().await {
        let call = call?;
        all += call.len();
        filled += call.iter().filter(|filled| **filled == Filled::Ok).count();
    }
    Ok(Settled { filled: filled as u64, void: all.saturating_sub(filled + large) as u64 })
}
