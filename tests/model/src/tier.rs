//! One partition's keys on one node of a tier, and the functions that change them: what tiers/src/lockstep.lua does, for
//! one entry, with a switch at each rule.

use crate::history::{Action, History, MISSING, Values};
use crate::rules::{Rule, Rules};

/// The source of a fill is the database: never behind.
pub const GREATEST: u8 = u8::MAX;

/// A cached value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its columns.
    pub values: Values,
    /// It holds all changes up to here.
    pub low: u8,
    /// It holds none beyond.
    pub high: u8,
}

/// The right of one party to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Marker {
    /// Whose it is.
    pub nonce: u8,
    /// The watermark when it was granted.
    pub pos: u8,
}

/// All that falls back together when the node does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Node {
    /// `_w.pos`; 0 is *least*.
    pub pos: u8,
    /// `_w.floor`.
    pub floor: u8,
    /// `_w.timeline`; 0 checks nothing.
    pub timeline: u8,
    /// The entry, dead or alive.
    pub entry: Option<Entry>,
    /// The marker beside it.
    pub marker: Option<Marker>,
}

/// What a lease's holder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fill {
    /// The lease.
    pub nonce: u8,
    /// What was read.
    pub values: Values,
    /// All up to here is in it.
    pub low: u8,
    /// None beyond.
    pub high: u8,
    /// How far the source had come.
    pub source_at: u8,
    /// The history that it was read from.
    pub timeline: u8,
}

impl Node {
    /// The entry that a reader would be shown.
    pub fn living(&self) -> Option<Entry> {
        self.entry.filter(|entry| entry.low >= self.floor)
    }

    /// `read` on an entry that is not there, by somebody who then holds the lease. `None`: hit, or busy.
    pub fn lease(&self, nonce: u8) -> Option<Node> {
        let free = self.living().is_none() && self.marker.is_none();
        free.then_some(Node { entry: None, marker: Some(Marker { nonce, pos: self.pos }), ..*self })
    }

    /// `fill`.
    pub fn fill(&mut self, fill: Fill, rules: Rules) {
        let Some(marker) = self.marker.filter(|marker| marker.nonce == fill.nonce) else { return };
        if rules.has(Rule::FillDeletesMarker) {
            self.marker = None;
        }
        let below = rules.has(Rule::FloorOnFills) && fill.low < self.floor;
        let behind = rules.has(Rule::SourceNotBehind) && fill.source_at < marker.pos;
        let foreign = rules.has(Rule::TimelineOnFills) && self.timeline != 0 && fill.timeline != self.timeline;
        if !(below || behind || foreign) {
            self.entry = Some(Entry { values: fill.values, low: fill.low, high: fill.high.max(fill.low) });
        }
    }

    /// One action of `apply`, without the compare. Returns whether the lease is now the caller's.
    pub fn act(&mut self, action: Action, new: u8, nonce: u8, history: &History, rules: Rules) -> bool {
        self.entry = if action == Action::Nothing { self.entry } else { self.living() };
        let Action::Refresh { position, image } = action else {
            return action == Action::Invalidate && self.drop(new, nonce, rules);
        };
        match self.living() {
            Some(entry) if position <= entry.low => self.keep(rules),
            Some(entry) if position > entry.high && self.may_refresh(&entry, history, rules) => {
                self.entry = Some(refreshed(entry, position, image, history, rules));
                self.keep(rules)
            }
            Some(entry) if position <= entry.high && !rules.has(Rule::InBetweenDrops) => self.keep(rules),
            Some(_) => self.drop(new, nonce, rules),
            None => self.refresh_absent(position, image, new, nonce, rules),
        }
    }

    fn may_refresh(&self, entry: &Entry, history: &History, rules: Rules) -> bool {
        !(history.is_absent(&entry.values) && rules.has(Rule::AbsenceIsNotRefreshed))
    }

    fn keep(&mut self, rules: Rules) -> bool {
        if rules.has(Rule::KeepDeletesMarker) {
            self.marker = None;
        }
        false
    }

    fn refresh_absent(&mut self, position: u8, image: Values, new: u8, nonce: u8, rules: Rules) -> bool {
        let rule = if self.marker.is_some() { Rule::ActionVoidsLease } else { Rule::AbsentStaysAbsent };
        if rules.has(rule) {
            return self.drop(new, nonce, rules);
        }
        (self.entry, self.marker) = (Some(Entry { values: image, low: position, high: position }), None);
        false
    }

    fn drop(&mut self, new: u8, nonce: u8, rules: Rules) -> bool {
        let wanted = self.entry.is_some() || self.marker.is_some();
        self.entry = None;
        if rules.has(Rule::DropDeletesMarker) {
            self.marker = None;
        }
        if !(wanted && rules.has(Rule::EngineTakesLease)) {
            return false;
        }
        self.marker = Some(Marker { nonce, pos: new });
        true
    }
}

fn refreshed(entry: Entry, position: u8, image: Values, history: &History, rules: Rules) -> Entry {
    let mut values = entry.values;
    for column in history.columns() {
        if image[column] != MISSING || !rules.has(Rule::UnknownIsLeftOut) {
            values[column] = image[column];
        }
    }
    Entry { values, low: position, high: position }
}
