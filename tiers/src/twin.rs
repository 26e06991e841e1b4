//! The rules of `lockstep.lua` once more, over a node in memory: what a [`crate::Tier`] takes and answers, without a
//! server, a clock or chance. For simulations, which decide what happens when; `tests/functions` holds it against the Lua.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_schemas::key::{Key, MARKER_SUFFIX};
use lockstep_schemas::position::Position;

use crate::TierError;
use crate::call::Calls;
use crate::layout::{Layout, Place};
use crate::tier::{
    ABSENT, BORN, Claims, Fill, Filled, Found, HIGH, Hit, LEASE, LOW, Lease, Look, Mark, Read, Watermark, millis,
    watermark_of,
};

mod apply;
mod node;

pub use node::{Hash, Node};

/// The text of a place's claims, which the server has without a field.
pub const TOUCHED: &str = "touched";
/// As in the Lua, which also bounds what is touched; so much is never played here.
const NONCE: usize = 32;
const SEVERAL_RUNS: &str = "********************************";

/// A tier in memory.
#[derive(Clone, Debug)]
pub struct Twin {
    /// What it holds: to look at, to evict from, to let time pass, to fail over.
    pub node: Node,
    calls: Calls,
}

/// An entry's bounds, where one lives.
struct Living {
    low: Position,
    high: Position,
    is_negative: bool,
}

/// The names that a call on one entry declares.
struct Names {
    entry: String,
    marker: String,
}

impl Twin {
    /// An empty tier: with tagged names, as a cluster has them, or with plain ones.
    pub fn new(layout: Arc<Layout>, tagged: bool) -> Self {
        Twin { node: Node::default(), calls: Calls::new(layout, tagged) }
    }

    /// The layout that this tier shares with the others.
    pub fn layout(&self) -> &Arc<Layout> {
        self.calls.layout()
    }

    /// An entry's name on the node.
    pub fn entry(&self, place: &Place, key: &Key) -> String {
        self.calls.entry(place, key)
    }

    /// `lockstep1_read`.
    pub fn read(&mut self, place: &Place, key: &Key, look: &Look<'_>) -> Read {
        let (w, names) = (self.layout().watermark(place), self.names(place, key));
        let mark = self.mark(&w);
        let mut living = self.living(&names.entry, self.floor(&w));
        if living.is_some() && self.is_aged(&names.entry, look) {
            self.node.remove(&names.entry);
            living = None;
        }
        if let Some(Living { low, high, .. }) = living {
            if let Some(slide) = look.slide {
                self.node.expire(&names.entry, millis(slide));
            }
            return Read::Hit(Hit { mark, low, high, fields: self.fields(&names.entry) });
        }
        if self.node.hash(&names.marker).is_some() {
            return Read::Busy(mark);
        }
        self.grant(&names.marker, look.nonce, mark.position);
        self.touch(place, [&*names.entry].into_iter());
        Read::Lease(Lease { nonce: look.nonce.to_owned(), mark })
    }

    /// `lockstep1_fill`, of one entry: of many it does the same to each. `born`: the filler's time, microseconds.
    pub fn fill(&mut self, place: &Place, key: &Key, fill: &Fill<'_>, born: i64) -> Filled {
        if fill.is_too_large() {
            return Filled::Refused;
        }
        let (w, names) = (self.layout().watermark(place), self.names(place, key));
        if self.node.field(&names.marker, "nonce") != Some(fill.nonce) {
            return Filled::Void;
        }
        let was = position(self.node.field(&names.marker, "pos"));
        self.node.remove(&names.marker);
        let timeline = self.node.field(&w, "timeline").unwrap_or_default();
        let another = !timeline.is_empty() && timeline != fill.timeline;
        if fill.low < self.floor(&w) || fill.source_at < was || another {
            return Filled::Refused;
        }
        self.replace(&names.entry, fill, born);
        Filled::Ok
    }

    /// `lockstep1_claim`, of keys none of which comes twice. Nonce and run have their length.
    pub fn claim(&mut self, place: &Place, keys: &[Key], nonce: &str, run: &str) -> Claims {
        let (w, claims) = (self.layout().watermark(place), self.layout().claims(place));
        let (mark, floor) = (self.mark(&w), self.floor(&w));
        let names: Vec<Names> = keys.iter().map(|key| self.names(place, key)).collect();
        let mut one = |names: &Names| match self.living(&names.entry, floor) {
            Some(_) => Found::Hit,
            None if self.node.hash(&names.marker).is_some() => Found::Busy,
            None => Found::Claim,
        };
        let found = names.iter().map(&mut one).collect();
        let was = self.node.field(&claims, TOUCHED).map(|text| text[..NONCE].to_owned());
        let several = was.as_ref().is_some_and(|was| was != run);
        if was.as_deref() == Some(SEVERAL_RUNS) {
            self.touch(place, names.iter().map(|names| &*names.entry));
        }
        let run = if several { SEVERAL_RUNS } else { run };
        let bookmark = format!("{}{nonce}", mark.position);
        let text = self.node.field(&claims, TOUCHED).filter(|text| text.starts_with(run));
        let text = text.map_or_else(|| format!("{run}\0"), str::to_owned);
        self.node.set(&claims, &[(TOUCHED, &format!("{text}\0{bookmark}\0"))]);
        self.node.expire(&claims, millis(LEASE));
        Claims { position: mark.position, timeline: mark.timeline, bookmark, found }
    }

    /// `lockstep1_settle`, of one entry: of many it does the same to each. `born`: the filler's time, microseconds.
    pub fn settle(&mut self, place: &Place, key: &Key, fill: &Fill<'_>, born: i64) -> Filled {
        if fill.is_too_large() {
            return Filled::Refused;
        }
        let (w, names) = (self.layout().watermark(place), self.names(place, key));
        let claims = self.node.field(&self.layout().claims(place), TOUCHED).unwrap_or_default();
        let bookmark = format!("\0\0{}\0", fill.nonce);
        let Some((_, touched)) = claims.split_once(&bookmark) else { return Filled::Void };
        let is_touched = touched.split('\0').any(|touched| touched == names.entry);
        let timeline = self.node.field(&w, "timeline").unwrap_or_default();
        let another = !timeline.is_empty() && timeline != fill.timeline;
        if fill.low < self.floor(&w) || another {
            return Filled::Refused;
        }
        if is_touched {
            return Filled::Void;
        }
        self.replace(&names.entry, fill, born);
        Filled::Ok
    }

    /// `lockstep1_own`.
    pub fn own(
        &mut self,
        place: &Place,
        expect: Position,
        owner: &str,
        l3: (Position, i64),
    ) -> Result<(Position, i64), Position> {
        let w = self.layout().watermark(place);
        let found = position(self.node.field(&w, "pos"));
        if found != expect {
            return Err(found);
        }
        let known = self.node.field(&w, "l3").map(|text| position(Some(text)));
        let offset = self.node.field(&w, "l3_offset").and_then(|text| text.parse().ok());
        let l3 = match known {
            Some(known) if known < l3.0 => (known, offset.unwrap_or(l3.1)),
            _ => l3,
        };
        self.node.set(&w, &[("l3_owner", owner), ("l3", &l3.0.to_string()), ("l3_offset", &l3.1.to_string())]);
        Ok(l3)
    }

    /// `lockstep1_sweep`.
    pub fn sweep(&mut self, place: &Place, entries: &[String]) -> u64 {
        let w = self.layout().watermark(place);
        let floor = self.floor(&w);
        let mut swept = 0;
        for entry in entries {
            let is_dead = self.node.field(entry, LOW).is_some_and(|low| position(Some(low)) < floor);
            swept += u64::from(is_dead && self.node.remove(entry));
        }
        if swept > 0 {
            self.node.add(&w, "swept", swept);
        }
        swept
    }

    /// The watermark of a place; `None` where the tier has none.
    pub fn watermark(&self, place: &Place) -> Result<Option<Watermark>, TierError> {
        let hash = self.node.hash(&self.layout().watermark(place));
        let hash: HashMap<String, String> = hash.into_iter().flatten().map(|(n, t)| (n.clone(), t.clone())).collect();
        watermark_of(&hash)
    }

    /// What lies below the floor is as good as gone, and goes.
    fn living(&mut self, entry: &str, floor: Position) -> Option<Living> {
        let low = position(Some(self.node.field(entry, LOW)?));
        if low < floor {
            self.node.remove(entry);
            return None;
        }
        let high = position(self.node.field(entry, HIGH));
        Some(Living { low, high, is_negative: self.node.field(entry, ABSENT).is_some() })
    }

    fn is_aged(&self, entry: &str, look: &Look<'_>) -> bool {
        let born = self.node.field(entry, BORN).and_then(|text| text.parse::<i64>().ok());
        let (Some(born), Some(age_max)) = (born, look.age_max) else { return false };
        let now = i64::try_from(self.node.now_ms()).unwrap_or(i64::MAX).saturating_mul(1_000);
        now - born > i64::try_from(millis(age_max)).unwrap_or(i64::MAX).saturating_mul(1_000)
    }

    fn fields(&self, entry: &str) -> Option<lockstep_schemas::entry::Fields> {
        let hash = self.node.hash(entry).filter(|hash| !hash.contains_key(ABSENT))?;
        let columns = hash.iter().filter(|(name, _)| !name.starts_with('_'));
        Some(columns.map(|(name, text)| (name.as_str().into(), text.clone())).collect())
    }

    fn replace(&mut self, entry: &str, fill: &Fill<'_>, born: i64) {
        self.node.remove(entry);
        let (low, high) = (fill.low.to_string(), fill.low.max(fill.high).to_string());
        self.node.set(entry, &[(LOW, &low), (HIGH, &high), (BORN, &born.to_string())]);
        match fill.fields {
            None => self.node.set(entry, &[(ABSENT, "1")]),
            Some(fields) => fields.iter().for_each(|(name, text)| self.node.set(entry, &[(name, text)])),
        }
        self.node.expire(entry, millis(fill.ttl));
    }

    /// Takes names out of all claims that there are.
    fn touch<'n>(&mut self, place: &Place, names: impl Iterator<Item = &'n str>) {
        let claims = self.layout().claims(place);
        let Some(text) = self.node.field(&claims, TOUCHED) else { return };
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return;
        }
        let text = format!("{text}{}\0", names.join("\0"));
        self.node.set(&claims, &[(TOUCHED, &text)]);
    }

    fn grant(&mut self, marker: &str, nonce: &str, position: Position) {
        self.node.set(marker, &[("nonce", nonce), ("pos", &position.to_string())]);
        self.node.expire(marker, millis(LEASE));
    }

    fn mark(&self, w: &str) -> Mark {
        let number = |name| self.node.field(w, name).and_then(|text| text.parse().ok());
        Mark {
            position: position(self.node.field(w, "pos")),
            timeline: self.node.field(w, "timeline").unwrap_or_default().to_owned(),
            at: number("at").unwrap_or(0),
            l3_begun: self.node.field(w, "l3_begun").map(|text| position(Some(text))),
        }
    }

    fn floor(&self, w: &str) -> Position {
        position(self.node.field(w, "floor"))
    }

    fn names(&self, place: &Place, key: &Key) -> Names {
        let entry = self.calls.entry(place, key);
        Names { marker: format!("{entry}{MARKER_SUFFIX}"), entry }
    }
}

/// The node holds positions only where the rules look for them.
fn position(text: Option<&str>) -> Position {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
