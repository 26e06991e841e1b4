//! What can happen.

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next commit is in the log.
    Commit,
    /// A commit becomes visible.
    Visible(u8),
    /// A lane's call to a tier; a former owner's lane, if so.
    Apply {
        /// Whose call it is.
        is_old: bool,
        /// 0 is L2.
        tier: u8,
        /// The newest change in it.
        through: u8,
    },
    /// Only where a watermark is compared after the writes: it moves.
    Move {
        /// Whose call it is.
        is_old: bool,
    },
    /// A call without actions finds that a watermark is not where it was left.
    Notice,
    /// The engine's offset is committed.
    CommitOffset,
    /// The engine dies.
    Crash,
    /// The partition goes to another engine, and the former one goes on.
    Rebalance,
    /// A reader's miss.
    Lease {
        /// Who.
        reader: u8,
        /// 0 is L2.
        tier: u8,
    },
    /// Its read of the database, or of L2.
    Read(u8),
    /// Its read of the database past L2.
    ReadPast(u8),
    /// Its fill.
    Fill(u8),
    /// A fill is sent once more.
    FillAgain,
    /// L2 has nothing to fill L1 with; the marker stays.
    GiveUp(u8),
    /// An entry goes.
    Evict(u8),
    /// A marker goes.
    Expire(u8),
    /// The replica has this much.
    Save(u8),
    /// The node falls back to that.
    FailOver(u8),
    /// A snapshot is taken.
    Snapshot,
    /// Its row reaches a tier.
    Plant(u8),
}
