//! Mistakes outside the engine's core, each a tempting shortcut: planted to show that the simulation notices.

/// A rule that the world around the core leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The gate lets everything through [5a].
    NoGate,
    /// A batch is applied whatever the watermark [6d, 7a].
    NoFence,
    /// A change leaves the leases of its entries [14h].
    MarkersStay,
    /// A fill does not use its lease up [14i].
    LeaseStays,
    /// What was touched before the fill is not looked at [19a, 19b].
    ClaimedAfterRead,
    /// `high` is from before the read [2a].
    HighBefore,
    /// `low` is the insert LSN of the read [2b].
    LowAfter,
    /// L1 is filled from an L2 that is behind it [3a].
    AnySource,
    /// A fill from a deposed primary is taken [13e].
    AnyTimeline,
    /// The edge is purged once [16a].
    OneRound,
    /// The watermark moves before the actions: a call that fails half way leaves it where all of it would be.
    WatermarkFirst,
    /// A lane that wants no more for now does not hear that a round is over.
    RoundsEndUnsaid,
    /// A lane that needs a settled moment does not wait for it.
    Unsettled,
}
