//! What must hold in every state (docs/protocol.md, section 1).

use std::ops::{BitAnd, BitOr};

/// One promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Promise {
    /// (a) Once the log is applied, what is present equals the database.
    NoStaleness = 1,
    /// (b) of L2, and of the edge where a model has one: no reader sees a newer state and then an older one.
    NeverBackwards = 2,
    /// (b) of L1.
    NeverBackwardsL1 = 4,
    /// (c) An entry has all its columns.
    NeverPartial = 8,
    /// (d) A live lease has one holder.
    OneFiller = 16,
    /// (w) An entry holds every change up to its own `low` and up to its partition's watermark.
    Watermark = 32,
    /// (m) No marker lies beside an entry.
    NoMarkerBeside = 64,
    /// (e) A key that changes faster than it is filled is not missing for ever.
    Progress = 128,
}

use Promise::{
    NeverBackwards, NeverBackwardsL1, NeverPartial, NoMarkerBeside, NoStaleness, OneFiller, Progress, Watermark,
};

const ALL: [Promise; 8] =
    [NoStaleness, NeverBackwards, NeverBackwardsL1, NeverPartial, OneFiller, Watermark, NoMarkerBeside, Progress];

impl Promise {
    /// Its letter in docs/protocol.md.
    pub fn letter(self) -> &'static str {
        match self {
            NoStaleness => "a",
            NeverBackwards => "b",
            NeverBackwardsL1 => "b of L1",
            NeverPartial => "c",
            OneFiller => "d",
            Watermark => "w",
            NoMarkerBeside => "m",
            Progress => "e",
        }
    }
}

/// A set of promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises(u8);

impl Promises {
    /// No promise.
    pub const NONE: Promises = Promises(0);
    /// Those that survive a fail-over.
    pub const LASTING: Promises =
        Promises(NoStaleness as u8 | NeverPartial as u8 | OneFiller as u8 | Watermark as u8 | NoMarkerBeside as u8);
    /// With (b) of L2.
    pub const ONE_TIER: Promises = Promises(Promises::LASTING.0 | NeverBackwards as u8);
    /// With (b) of both tiers.
    pub const TWO_TIERS: Promises = Promises(Promises::ONE_TIER.0 | NeverBackwardsL1 as u8);

    /// The set with one more, where that is broken.
    #[must_use]
    pub fn with(self, promise: Promise, broken: bool) -> Self {
        if broken { self | promise.into() } else { self }
    }

    /// Whether it is in the set.
    pub fn contains(self, promise: Promise) -> bool {
        self.0 & promise as u8 != 0
    }

    /// The first of them.
    pub fn first(self) -> Option<Promise> {
        ALL.into_iter().find(|promise| self.contains(*promise))
    }

    /// Their letters.
    pub fn letters(self) -> String {
        let letters = ALL.into_iter().filter(|promise| self.contains(*promise)).map(Promise::letter);
        letters.collect::<Vec<_>>().join(", ")
    }
}

impl From<Promise> for Promises {
    fn from(promise: Promise) -> Self {
        Promises(promise as u8)
    }
}

impl BitAnd for Promises {
    type Output = Promises;

    fn bitand(self, other: Promises) -> Promises {
        Promises(self.0 & other.0)
    }
}

impl BitOr for Promises {
    type Output = Promises;

    fn bitor(self, other: Promises) -> Promises {
        Promises(self.0 | other.0)
    }
}
