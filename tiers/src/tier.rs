//! A tier of Redis: the function library's rules as calls (docs/protocol.md, "The functions").

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::{RedisServers, Url};
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;

use crate::call::Calls;
use crate::layout::{Layout, Place};
use crate::link::Link;
use crate::reply;
use crate::tier_error::TierError;

mod limits;
mod rules;

pub use limits::{ACTIONS_MAX, ARGUMENTS_MAX, CALL_BYTES_MAX, ENTRIES_MAX, ENTRY_BYTES_MAX, ENTRY_FIELDS_MAX};
pub(crate) use limits::{calls_of, within_limits};
pub(crate) use rules::{ABSENT, BORN, HIGH, LOW};
pub use rules::{
    Action, Applied, Apply, Claims, Fill, Filled, Found, Hit, Lease, Look, Mark, Outward, Read, Watermark,
};

/// How long a filler has; a database that takes longer than this makes misses, not mistakes.
pub const LEASE: Duration = Duration::from_secs(3);

/// One tier. Clones share its connections.
#[derive(Clone)]
pub struct Tier {
    /// Which.
    pub name: TierName,
    pub(crate) link: Link,
    pub(crate) calls: Calls,
}

impl Tier {
    /// A tier on the servers that are configured for it.
    pub async fn connect(name: TierName, servers: &RedisServers, layout: Arc<Layout>) -> Result<Self, Failure> {
        match servers {
            RedisServers::Node(url) => Self::node(name, url, layout).await,
            RedisServers::Cluster(urls) => Self::cluster(name, urls, layout).await,
        }
    }

    /// A tier of one node, with plain names.
    pub async fn node(name: TierName, url: &Url, layout: Arc<Layout>) -> Result<Self, Failure> {
        Ok(Tier { name, link: Link::node(name, url).await?, calls: Calls::new(layout, false) })
    }

    /// A tier of a cluster, with tagged names.
    pub async fn cluster(name: TierName, urls: &[Url], layout: Arc<Layout>) -> Result<Self, Failure> {
        Ok(Tier { name, link: Link::cluster(name, urls).await?, calls: Calls::new(layout, true) })
    }

    /// Loads the function library on every primary. The engine does so at its start; whoever else finds it missing loads it
    /// then.
    pub async fn load_library(&self) -> Result<(), Failure> {
        let unusable = |error| {
            Failure::configuration(format!("{} does not take our function library", self.name.as_str()))
                .because(error)
                .remedy("Lockstep needs Redis 7.0 or newer, and the right to run FUNCTION LOAD and FCALL, or EVAL and EVALSHA")
        };
        self.link.load_library().await.map_err(unusable)
    }

    /// The layout that this tier shares with the others.
    pub fn layout(&self) -> &Arc<Layout> {
        self.calls.layout()
    }

    /// Reads an entry, or gets the right to fill it. `slide`: life from now on, where hits extend it.
    pub async fn read(&self, place: &Place, key: &Key, slide: Option<Duration>) -> Result<Read, TierError> {
        self.read_within(place, key, slide, None).await
    }

    /// The same; an entry that was filled longer ago than `age_max` is gone, and counts as a miss. It compares the clocks of
    /// Redis and of whoever filled, so it bounds ages about, and no promise rests on it.
    pub async fn read_within(
        &self,
        place: &Place,
        key: &Key,
        slide: Option<Duration>,
        age_max: Option<Duration>,
    ) -> Result<Read, TierError> {
        let nonce = nonce();
        let command = self.calls.read(place, key, &Look { nonce: &nonce, slide, age_max, lease: None });
        reply::read(self.link.call(&command).await?, nonce)
    }

    /// Removes an entry by the rule for those beyond their age, and leaves a lease behind that is over at once: an entry that
    /// nobody reads any more. Whether there was one.
    pub async fn forget(&self, place: &Place, key: &Key) -> Result<bool, TierError> {
        let was_there = !self.entry(place, key).await?.is_empty();
        if was_there {
            let (nonce, no_time) = (nonce(), Some(Duration::from_millis(1)));
            let look = Look { nonce: &nonce, slide: None, age_max: no_time, lease: no_time };
            reply::read(self.link.call(&self.calls.read(place, key, &look)).await?, nonce.clone())?;
        }
        Ok(was_there)
    }

    /// Looks at some entries of a place, and claims those that are missing, for one run of a filler: the right to fill them
    /// that costs a node the least, and that gives way to whoever else wants one.
    pub async fn claim(&self, place: &Place, keys: &[Key], run: &str) -> Result<Claims, TierError> {
        assert!((1..=ENTRIES_MAX).contains(&keys.len()), "the caller cuts");
        reply::claim(self.link.call(&self.calls.claim(place, keys, &nonce(), run)).await?, keys.len())
    }

    /// Fills a leased entry.
    pub async fn fill(&self, place: &Place, key: &Key, fill: &Fill<'_>) -> Result<Filled, TierError> {
        let filled = self.fill_many(place, &[(key, fill)]).await?;
        Ok(filled.first().copied().unwrap_or(Filled::Void))
    }

    /// Fills leased entries of a place, none of them twice; says of each, in their order, what became of it.
    pub async fn fill_many(&self, place: &Place, fills: &[(&Key, &Fill<'_>)]) -> Result<Vec<Filled>, TierError> {
        self.filled(fills, |call| self.calls.fill(place, call, now_micros())).await
    }

    /// The same from the database for claimed ones; their bookmark stands in place of the nonce.
    pub async fn settle_many(&self, place: &Place, fills: &[(&Key, &Fill<'_>)]) -> Result<Vec<Filled>, TierError> {
        self.filled(fills, |call| self.calls.settle(place, call, now_micros())).await
    }

    async fn filled(
        &self,
        fills: &[(&Key, &Fill<'_>)],
        command: impl Fn(&[(&Key, &Fill<'_>)]) -> redis::Cmd,
    ) -> Result<Vec<Filled>, TierError> {
        let mut all = Vec::with_capacity(fills.len());
        for call in calls_of(fills) {
            if let [(key, fill)] = call
                && fill.is_too_large()
            {
                let bytes = fill.bytes();
                tracing::warn!(tier = self.name.as_str(), %key, bytes, "an entry too large to be cached");
                all.push(Filled::Refused);
                continue;
            }
            let answer = self.link.call(&command(call)).await?;
            all.extend(reply::fill(answer, call.len())?);
        }
        Ok(all)
    }

    /// Applies a batch. What is too much for one call is invalidated rather than refreshed.
    pub async fn apply(&self, place: &Place, batch: &Apply<'_>) -> Result<Applied, TierError> {
        assert!(batch.actions.len() <= ACTIONS_MAX, "the caller cuts batches");
        let actions = within_limits(batch.actions);
        let batch = Apply { actions: &actions, ..batch.clone() };
        reply::apply(self.link.call(&self.calls.apply(place, &batch)).await?)
    }

    /// Takes L3's position over, lowering it where it must be lower. `Err`: where the watermark is instead.
    pub async fn own(
        &self,
        place: &Place,
        expect: Position,
        owner: &str,
        l3: (Position, i64),
    ) -> Result<Result<(Position, i64), Position>, TierError> {
        reply::own(self.link.call(&self.calls.own(place, expect, owner, l3)).await?)
    }

    /// The watermark of a place; `None` where the tier has none.
    pub async fn watermark(&self, place: &Place) -> Result<Option<Watermark>, TierError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.layout().watermark(place));
        let answer = self.link.call(&command).await?;
        let hash: HashMap<String, String> = redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
        watermark_of(&hash)
    }

    /// An entry as it lies there, our own fields with it; empty where there is none. For people: a reader reads by
    /// [`Tier::read`], which knows the floor.
    pub async fn entry(&self, place: &Place, key: &Key) -> Result<HashMap<String, String>, TierError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.calls.entry(place, key));
        let answer = self.link.call(&command).await?;
        Ok(redis::from_redis_value(answer).map_err(redis::RedisError::from)?)
    }
}

pub(crate) fn watermark_of(hash: &HashMap<String, String>) -> Result<Option<Watermark>, TierError> {
    fn parsed<T: std::str::FromStr>(hash: &HashMap<String, String>, name: &str) -> Result<Option<T>, TierError> {
        let Some(text) = hash.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|_| TierError::Answer { function: "HGETALL _w", answer: format!("{name} = {text}") })
    }
    let Some(position) = parsed(hash, "pos")? else { return Ok(None) };
    let l3: Option<Position> = parsed(hash, "l3")?;
    let l3_offset: Option<i64> = parsed(hash, "l3_offset")?;
    Ok(Some(Watermark {
        position,
        offset: parsed(hash, "offset")?.unwrap_or(0),
        floor: parsed(hash, "floor")?.unwrap_or_default(),
        at: parsed(hash, "at")?.unwrap_or(0),
        l3: l3.zip(l3_offset),
        l3_begun: parsed(hash, "l3_begun")?,
        refreshed: parsed(hash, "refreshed")?.unwrap_or(0),
        dropped: parsed(hash, "dropped")?.unwrap_or(0),
        swept: parsed(hash, "swept")?.unwrap_or(0),
    }))
}

/// A name that nothing else has.
pub fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
