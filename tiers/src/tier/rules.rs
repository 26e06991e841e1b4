//! What the function library takes and gives (docs/protocol.md, "The functions").

use std::fmt;
use std::time::Duration;

use lockstep_schemas::change::{Cell, Row};
use lockstep_schemas::entry::Fields;
use lockstep_schemas::key::Key;
use lockstep_schemas::position::Position;
use lockstep_schemas::shown::MaskedFields;

use super::millis;
use crate::whole;

/// The fields of ours that an entry has beside its own.
pub(crate) const LOW: &str = "_low";
pub(crate) const HIGH: &str = "_high";
pub(crate) const BORN: &str = "_born";
/// What an entry has in the place of fields, where the database has no such row.
pub(crate) const ABSENT: &str = "_neg";

/// A tier's state that comes with every answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Everything up to here has been applied.
    pub position: Position,
    /// The database's timeline, or empty where nothing has been applied yet.
    pub timeline: String,
    /// The server's time up to which that is, microseconds since 1970.
    pub at: i64,
    /// On L2: purges up to here have begun.
    pub l3_begun: Option<Position>,
}

/// A living entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Hit {
    /// The tier's state.
    pub mark: Mark,
    /// It holds all its key's changes up to here, and up to the watermark.
    pub low: Position,
    /// It holds nothing beyond.
    pub high: Position,
    /// Its fields; `None`: a cached absence.
    pub fields: Option<Fields>,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.as_deref().map(MaskedFields);
        let mut shown = f.debug_struct("Hit");
        shown
            .field("mark", &self.mark)
            .field("low", &self.low)
            .field("high", &self.high)
            .field("fields", &fields)
            .finish()
    }
}

/// What a read asks for beside the entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// The name of the lease, should it become one.
    pub nonce: &'a str,
    /// Life from now on, where hits extend it.
    pub slide: Option<Duration>,
    /// An entry that was filled longer ago counts as a miss.
    pub age_max: Option<Duration>,
    /// How long the lease is; `None`: as long as a filler has.
    pub lease: Option<Duration>,
}

/// The right to fill one missing entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names it.
    pub nonce: String,
    /// The tier's state when it was granted; its position is the fill's `low`.
    pub mark: Mark,
}

/// What a read finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// An entry.
    Hit(Hit),
    /// Nothing, and somebody else is filling it.
    Busy(Mark),
    /// Nothing, and it is ours to fill.
    Lease(Lease),
}

/// What a look at one of many entries finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An entry.
    Hit,
    /// Nothing, and somebody else is filling it.
    Busy,
    /// Nothing, and it is ours to fill until somebody else wants it.
    Claim,
}

/// What a look at many entries of a place finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Where the tier stood: the fills' `low`.
    pub position: Position,
    /// The database's timeline, or empty where nothing has been applied yet.
    pub timeline: String,
    /// Names them, with those of others between which nothing was touched.
    pub bookmark: String,
    /// Each entry, in the order of asking.
    pub found: Vec<Found>,
}

/// A whole entry for a lease or a claim.
#[derive(Clone)]
pub struct Fill<'a> {
    /// The lease's name, or the claims' bookmark.
    pub nonce: &'a str,
    /// It holds all changes up to here.
    pub low: Position,
    /// It holds nothing beyond.
    pub high: Position,
    /// How far that had come what was read: the tier beneath's position; greatest for the primary.
    pub source_at: Position,
    /// The timeline that was read.
    pub timeline: &'a str,
    /// Life.
    pub ttl: Duration,
    /// The fields; `None`: absence.
    pub fields: Option<&'a Fields>,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The entry is there.
    Ok,
    /// The lease or claim was gone: the key changed meanwhile, or it ran out.
    Void,
    /// What was read is too old for this tier, or of another history; or it is larger than an entry may be.
    Refused,
}

/// What a change does to one entry.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Gone.
    Invalidate,
    /// These fields, as of that position.
    Refresh {
        /// The newest change in it.
        position: Position,
        /// Life from now on.
        ttl: Duration,
        /// Whether `fields` are all that the entry can have, each of them known: then it is replaced by them, and this is
        /// how old they are, the time of a commit, microseconds since 1970.
        born: Option<i64>,
        /// The fields that are known, each a column; a field that is not known stays as it is.
        fields: Row,
    },
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Action::Refresh { position, ttl, born, fields } = self else { return f.write_str("Invalidate") };
        let mut shown = f.debug_struct("Refresh");
        shown.field("position", position).field("ttl", ttl).field("born", born).field("fields", fields).finish()
    }
}

/// A batch of one partition: actions, and the watermark's move.
#[derive(Clone, Debug)]
pub struct Apply<'a> {
    /// Where the watermark must be.
    pub expect: Position,
    /// Where it goes.
    pub new: Position,
    /// The log's offset that belongs to it.
    pub offset: i64,
    /// A raised floor.
    pub floor: Option<Position>,
    /// The database's timeline.
    pub timeline: &'a str,
    /// The server's time, microseconds since 1970; 0 leaves it as it is.
    pub at: i64,
    /// The engine's own nonce, for entries that somebody wants.
    pub nonce: &'a str,
    /// What to do to which entry.
    pub actions: &'a [(Key, Action)],
    /// L3's position, kept on L2.
    pub outward: Option<Outward<'a>>,
}

/// L3's position, moved together with L2's.
#[derive(Clone, Debug)]
pub struct Outward<'a> {
    /// Who owns it.
    pub owner: &'a str,
    /// Purges up to here are about to begin.
    pub begun: Option<Position>,
    /// Purges up to here are done; and the log's offset that belongs to it.
    pub done: Option<(Position, i64)>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All of it.
    Ok {
        /// Entries refreshed in place.
        refreshed: u64,
        /// Entries dropped.
        dropped: u64,
        /// Indices of actions whose entries are now the engine's to fill.
        mine: Vec<usize>,
    },
    /// None of it: the watermark is elsewhere.
    Lost {
        /// Where it is.
        position: Position,
        /// The log's offset that belongs to it.
        offset: Option<i64>,
    },
}

/// A watermark hash, as status and start-up read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything up to here has been applied.
    pub position: Position,
    /// The log's offset that belongs to it.
    pub offset: i64,
    /// What lies below is dead.
    pub floor: Position,
    /// The server's time, microseconds since 1970.
    pub at: i64,
    /// L3's position, on L2.
    pub l3: Option<(Position, i64)>,
    /// Purges up to here have begun, on L2.
    pub l3_begun: Option<Position>,
    /// Entries refreshed so far.
    pub refreshed: u64,
    /// Entries dropped so far.
    pub dropped: u64,
    /// Entries below the floor that a sweep has removed so far.
    pub swept: u64,
}

impl Action {
    /// Adds its arguments. `now`: microseconds since 1970, for nothing is born later, whatever the database's clock says;
    /// `entry`: a buffer for the entries that replace others.
    pub(crate) fn arguments(&self, command: &mut redis::Cmd, now: i64, entry: &mut Vec<u8>) {
        let Action::Refresh { position, ttl, born, fields } = self else {
            command.arg("i");
            return;
        };
        if let Some(born) = born {
            let (bound, mut digits) = (position.text(), itoa::Buffer::new());
            let own = [(LOW, &*bound), (HIGH, &bound), (BORN, digits.format(*born.min(&now)))];
            let texts = fields.iter().filter_map(|(name, cell)| match cell {
                Cell::Value(text) => Some((name, text.as_str())),
                Cell::Null | Cell::Unknown => None,
            });
            whole::hash(own.into_iter().chain(texts), entry);
            command.arg("w").arg(&*bound).arg(millis(*ttl)).arg(&*entry);
            return;
        }
        let texts = fields.iter().filter(|(_, cell)| matches!(cell, Cell::Value(_))).count();
        let nulls = || fields.iter().filter(|(_, cell)| **cell == Cell::Null);
        command.arg("r").arg(&*position.text()).arg(millis(*ttl)).arg(texts).arg(nulls().count());
        for (name, cell) in fields.iter() {
            if let Cell::Value(text) = cell {
                command.arg(name).arg(text.as_str());
            }
        }
        for (name, _) in nulls() {
            command.arg(name);
        }
    }

    /// What a call carries for it: arguments, and bytes at most.
    pub fn size(&self) -> (usize, usize) {
        let (known, bytes) = self.known();
        match self {
            Action::Invalidate => (1, bytes),
            Action::Refresh { born: Some(_), .. } => (4, whole::length_max(known, bytes)),
            Action::Refresh { .. } => (5 + 2 * known, bytes),
        }
    }

    /// How many bytes its fields have.
    pub fn bytes(&self) -> usize {
        self.known().1
    }

    /// Its known fields, and how many bytes they have.
    fn known(&self) -> (usize, usize) {
        let Action::Refresh { fields, .. } = self else { return (0, 0) };
        fields.iter().fold((0, 0), |(known, bytes), (name, cell)| match cell {
            Cell::Value(text) => (known + 1, bytes + name.len() + text.len()),
            Cell::Null => (known + 1, bytes + name.len()),
            Cell::Unknown => (known, bytes),
        })
    }
}
