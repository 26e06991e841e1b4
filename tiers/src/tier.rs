//! A tier of Redis: the function library's rules as calls (docs/protocol.md, "The functions").

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::Url;
use lockstep_schemas::key::{Key, MARKER_SUFFIX};
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;

use crate::layout::{Layout, Place};
use crate::link::{Link, TierError};
use crate::reply::{self, ReadReply};

mod rules;

pub use rules::{Action, Applied, Apply, Fill, Filled, Hit, Lease, Mark, Outward, Read, Watermark};

/// How long a filler has; a database that takes longer than this makes misses, not mistakes.
const LEASE: Duration = Duration::from_secs(3);
/// Actions in one call: two keys each, and the watermark; it blocks the node while it runs.
pub const ACTIONS_MAX: usize = 60;
/// Arguments of one call. Lua's `unpack` fails at 8,000.
pub const ARGUMENTS_MAX: usize = 4_000;
/// Bytes of one call's fields, about: a call blocks its node.
pub const CALL_BYTES_MAX: usize = 256 * 1_024;
/// Fields of an entry. One with more rows is never cached.
pub const ENTRY_FIELDS_MAX: usize = 500;
/// An entry's size, fields and values. A larger one is never cached.
pub const ENTRY_BYTES_MAX: usize = 256 * 1_024;

/// One tier. Clones share its connections.
#[derive(Clone)]
pub struct Tier {
    /// Which.
    pub name: TierName,
    link: Link,
    layout: Arc<Layout>,
}

impl Tier {
    /// A tier of one node, with plain names.
    pub async fn node(name: TierName, url: &Url, layout: Arc<Layout>) -> Result<Self, Failure> {
        Ok(Tier { name, link: Link::node(name, url).await?, layout })
    }

    /// A tier of a cluster, with tagged names.
    pub async fn cluster(name: TierName, urls: &[Url], layout: Arc<Layout>) -> Result<Self, Failure> {
        Ok(Tier { name, link: Link::cluster(name, urls).await?, layout })
    }

    /// Loads the function library on every primary. The engine does so at its start; whoever else finds it missing loads it
    /// then.
    pub async fn load_library(&self) -> Result<(), Failure> {
        let unusable = |error| {
            Failure::configuration(format!("{} does not take our function library", self.name.as_str()))
                .because(error)
                .remedy("Lockstep needs Redis 7.0 or newer, and the right to run FUNCTION LOAD")
        };
        self.link.load_library().await.map_err(unusable)
    }

    /// The layout that this tier shares with the others.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Reads an entry, or gets the right to fill it. `slide`: life from now on, where hits extend it.
    pub async fn read(&self, place: &Place, key: &Key, slide: Option<Duration>) -> Result<Read, TierError> {
        let nonce = nonce();
        let mut command = self.function("lockstep1_read", place, [key]);
        command.arg(&nonce).arg(millis(LEASE)).arg(slide.map_or(0, millis));
        Ok(match reply::read(self.link.call(&command).await?)? {
            ReadReply::Hit(hit) => Read::Hit(hit),
            ReadReply::Busy(mark) => Read::Busy(mark),
            ReadReply::Lease(mark) => Read::Lease(Lease { nonce, mark }),
        })
    }

    /// Fills a leased entry.
    pub async fn fill(&self, place: &Place, key: &Key, fill: &Fill<'_>) -> Result<Filled, TierError> {
        let size = fill.fields.map_or(0, |fields| fields.iter().map(|(name, text)| name.len() + text.len()).sum());
        let count = fill.fields.map_or(0, Vec::len);
        if size > ENTRY_BYTES_MAX || count > ENTRY_FIELDS_MAX {
            tracing::warn!(tier = self.name.as_str(), %key, bytes = size, fields = count, "an entry too large to be cached");
            return Ok(Filled::Refused);
        }
        let mut command = self.function("lockstep1_fill", place, [key]);
        command.arg(fill.nonce).arg(fill.low.to_string()).arg(fill.high.to_string()).arg(fill.source_at.to_string());
        command.arg(fill.timeline).arg(millis(fill.ttl)).arg(now_micros());
        match fill.fields {
            None => {
                command.arg("_neg").arg("1");
            }
            Some(fields) => {
                for (name, text) in fields {
                    command.arg(&**name).arg(text);
                }
            }
        }
        reply::fill(self.link.call(&command).await?)
    }

    /// Applies a batch.
    pub async fn apply(&self, place: &Place, batch: &Apply<'_>) -> Result<Applied, TierError> {
        assert!(batch.actions.len() <= ACTIONS_MAX, "the caller cuts batches");
        let mut command = self.function("lockstep1_apply", place, batch.actions.iter().map(|(key, _)| key));
        let floor = batch.floor.map(|floor| floor.to_string()).unwrap_or_default();
        command.arg(batch.expect.to_string()).arg(batch.new.to_string()).arg(batch.offset).arg(floor);
        command.arg(batch.timeline).arg(batch.at).arg(batch.nonce).arg(millis(LEASE));
        let outward = batch.outward.as_ref();
        let text = |position: Option<Position>| position.map(|position| position.to_string()).unwrap_or_default();
        let done = outward.and_then(|outward| outward.done);
        command.arg(outward.map_or("", |outward| outward.owner));
        command.arg(text(outward.and_then(|outward| outward.begun)));
        command.arg(text(done.map(|(position, _)| position))).arg(done.map_or(0, |(_, offset)| offset));
        batch.actions.iter().for_each(|(_, action)| action.arguments(&mut command));
        reply::apply(self.link.call(&command).await?)
    }

    /// Takes L3's position over, lowering it where it must be lower. `Err`: where the watermark is instead.
    pub async fn own(
        &self,
        place: &Place,
        expect: Position,
        owner: &str,
        l3: (Position, i64),
    ) -> Result<Result<(Position, i64), Position>, TierError> {
        let mut command = self.function("lockstep1_own", place, []);
        command.arg(expect.to_string()).arg(owner).arg(l3.0.to_string()).arg(l3.1);
        reply::own(self.link.call(&command).await?)
    }

    /// The watermark of a place; `None` where the tier has none.
    pub async fn watermark(&self, place: &Place) -> Result<Option<Watermark>, TierError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.layout.watermark(place));
        let answer = self.link.call(&command).await?;
        let hash: HashMap<String, String> = redis::from_redis_value(answer).map_err(redis::RedisError::from)?;
        watermark_of(&hash)
    }

    /// An entry as it lies there, our own fields with it; empty where there is none. For people: a reader reads by
    /// [`Tier::read`], which knows the floor.
    pub async fn entry(&self, place: &Place, key: &Key) -> Result<HashMap<String, String>, TierError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.layout.entry(place, key, self.link.is_cluster()));
        let answer = self.link.call(&command).await?;
        Ok(redis::from_redis_value(answer).map_err(redis::RedisError::from)?)
    }

    fn function<'k>(&self, name: &str, place: &Place, keys: impl IntoIterator<Item = &'k Key>) -> redis::Cmd {
        let tagged = self.link.is_cluster();
        let mut names = vec![self.layout.watermark(place)];
        for key in keys {
            let entry = self.layout.entry(place, key, tagged);
            names.push(entry.clone());
            names.push(format!("{entry}{MARKER_SUFFIX}"));
        }
        let mut command = redis::cmd("FCALL");
        command.arg(name).arg(names.len()).arg(names);
        command
    }
}

fn watermark_of(hash: &HashMap<String, String>) -> Result<Option<Watermark>, TierError> {
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
    }))
}

/// A name that nothing else has.
pub fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
