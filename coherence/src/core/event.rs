//! What a lane's core hears, and what it asks for: two closed lists. Whatever waits, fails or answers late does so in
//! the shell; the core sees it as one of these.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{TierName, View};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::record;
use lockstep_source::gate::{Passage, Verdict};
use lockstep_tiers::{Action, Applied, Apply, Outward, Watermark};

/// Names a question, so that its answer finds back, and one to an earlier question is known as such.
pub type Token = u64;

/// A place up to which everything is purged at the edge, and the log's offset that belongs to it.
pub type Purged = (Position, i64);

/// What a lane hears.
#[derive(Debug)]
pub enum Event {
    /// Time since the lane began.
    Time(Duration),
    /// The log's ends, and then the newest epoch; or why they can't be told.
    Looked(Token, Result<Look, String>),
    /// A tier's watermark.
    Found(Token, Result<Option<Watermark>, Trouble>),
    /// The log's ends, and then a moment at which everything before an LSN was visible.
    Settled(Token, Result<Look, String>),
    /// A tier's answer to `Apply`.
    Answered(Token, Result<Applied, Trouble>),
    /// L2's answer to `Own`: L3's position; or where the watermark is instead.
    Owned(Token, Result<Result<Purged, Position>, Trouble>),
    /// The next record of the log; or why it can't be read.
    Record(i64, Result<record::Event, String>),
    /// No other record is at hand.
    RoundOver,
    /// The gate's verdict, and the database's timeline.
    Passed(Token, Verdict, String),
    /// How far the log is complete.
    Progress(LogProgress),
    /// A tier forgot what another lane had applied; perhaps what this one has, too.
    Doubted,
    /// Everything up to here is purged at the edge, by the rounds that began with this life of the lane.
    Purged(u64, Purged),
    /// The partition was revoked, or the process ends.
    Stop,
}

/// What a lane asks for.
#[derive(Debug)]
pub enum Command {
    /// Read the log's ends, then the epoch.
    Look(Token),
    /// Read a tier's watermark.
    Find(Token, TierName),
    /// Read the log's ends, then wait for a settled moment.
    Settle(Token),
    /// Call a tier once.
    Apply(Token, TierName, Call),
    /// Take L3's position over, on L2.
    Own(Token, Own),
    /// A new life: read the log from here; begin purges anew, under this life's number.
    Read {
        /// Its offset.
        from: i64,
        /// The life's number.
        life: u64,
    },
    /// Ask the gate.
    Gate(Token, Passage),
    /// Purge these tags at the edge, in rounds; everything before the place has been applied beneath.
    Purge(Purged, BTreeSet<String>),
    /// Fill entries whose leases are ours.
    Refill(Mine),
    /// Tell operators.
    Say(Notice),
    /// Leave the group, and join it again.
    Rejoin,
    /// The lane has ended: nothing of it is under way.
    End,
}

/// A moment of log and database.
#[derive(Clone, Debug)]
pub struct Look {
    /// The log's first offset.
    pub oldest: i64,
    /// The offset of its next record.
    pub end: i64,
    /// The newest epoch.
    pub epoch: u16,
    /// Its timeline.
    pub timeline: String,
    /// Everything before it is visible; of a settled moment only.
    pub lsn: Lsn,
    /// The time, microseconds since 1970.
    pub at: i64,
}

/// A call that went wrong. What it did is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No answer, or an error.
    Away(String),
    /// Its slot is on the move.
    Moving(String),
}

impl Trouble {
    /// Why.
    pub fn why(&self) -> &str {
        match self {
            Trouble::Away(why) | Trouble::Moving(why) => why,
        }
    }
}

/// Progress, as far as it concerns one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProgress {
    /// Everything before it has been published.
    pub position: Position,
    /// The server's time, microseconds since 1970.
    pub at: i64,
    /// Of this partition, before this offset.
    pub next: Option<i64>,
    /// The database's timeline.
    pub timeline: String,
}

/// One call of `apply`; sent again as it is, until it answers.
#[derive(Clone, Debug)]
pub struct Call {
    /// Where the watermark must be.
    pub expect: Position,
    /// Where it goes.
    pub new: Position,
    /// The log's offset that belongs to it.
    pub offset: i64,
    /// A raised floor.
    pub floor: Option<Position>,
    /// The database's timeline.
    pub timeline: String,
    /// The server's time, microseconds since 1970.
    pub at: i64,
    /// The engine's own nonce.
    pub nonce: String,
    /// What to do to which entry.
    pub actions: Arc<[(Key, Action)]>,
    /// L3's position, on L2: its owner, whether purges up to `new` are about to begin, and up to where they are done.
    pub outward: Option<(String, bool, Option<Purged>)>,
}

impl Call {
    /// A write that changes nothing: a tier that answers it takes writes, and its watermark is still where it was found.
    pub fn touch(found: Option<&Watermark>) -> Self {
        let (position, offset) = found.map_or((Position::LEAST, 0), |mark| (mark.position, mark.offset));
        Call {
            expect: position,
            new: position,
            offset,
            floor: None,
            timeline: String::new(),
            at: 0,
            nonce: String::new(),
            actions: [].into(),
            outward: None,
        }
    }

    /// As the tier takes it.
    pub fn batch(&self) -> Apply<'_> {
        let outward = self.outward.as_ref().map(|(owner, begins, done)| Outward {
            owner,
            begun: begins.then_some(self.new),
            done: *done,
        });
        Apply {
            expect: self.expect,
            new: self.new,
            offset: self.offset,
            floor: self.floor,
            timeline: &self.timeline,
            at: self.at,
            nonce: &self.nonce,
            actions: &self.actions,
            outward,
        }
    }
}

/// L3's position, to be taken over.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where L2's watermark must be.
    pub expect: Position,
    /// The new owner.
    pub owner: String,
    /// L3 is at most there.
    pub l3: Purged,
}

/// Entries of one view that are ours to fill.
#[derive(Clone, Debug)]
pub struct Mine {
    /// The view.
    pub view: Arc<View>,
    /// Whose entries.
    pub entities: Vec<String>,
    /// Names the leases.
    pub nonce: String,
    /// The watermark after the call that voided them.
    pub low: Position,
}

/// What operators hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The lane can't begin yet.
    CannotBegin(String),
    /// A tier was unknown, or its place in the log is gone.
    FloorRaised(TierName, Position),
    /// A tier does not answer; it is tried again.
    Silent(TierName, Trouble),
    /// A tier goes its own way, so that it holds no other up.
    Detached(TierName, Trouble),
    /// A detached tier still does not answer, or takes no writes.
    StillAway(TierName, Trouble),
    /// A tier that went its own way is back.
    Back(TierName),
    /// Another engine moved the watermark.
    OtherOwner(TierName, Position),
    /// A tier forgot what it had applied.
    Forgot(TierName, Position),
    /// A record can't be read: the next offset, and why.
    Unreadable(i64, String),
    /// Records are gone from the log: the offset that should have come, and the one that did.
    Gone(i64, i64),
    /// The log was made anew.
    MadeAnew,
    /// A record that had been planned before.
    Repeated,
    /// A tier has a higher floor than before.
    FloorRose(TierName),
    /// A tier has applied everything before an offset.
    Reached(TierName, i64),
}
