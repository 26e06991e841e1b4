//! The core's rules by name, so that a simulation can leave one out and show that it notices. Production leaves none out.

/// A rule that the core obeys (docs/protocol.md, section 12 has the shortest history of each that was not).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Each change of a batch is gated, not only its newest [5c].
    GateEach,
    /// A watermark where a call of ours would have moved it says that the call landed.
    LandedIsOurs,
    /// A tier that forgot is applied to again from where it is [7a].
    ForgotGoesBack,
    /// A lane starts from the tier's own place in the log [4c].
    StartFromTier,
    /// A tier that is unknown, or whose place is gone, gets a floor [13b].
    FloorOnUnknown,
    /// A control event raises the floor.
    FloorOnControl,
    /// An offset is a place in the log of one epoch only.
    OffsetOfEpoch,
    /// A change of an epoch that was not announced is of a log made anew.
    EpochAnnounced,
    /// The watermark follows progress only where all that it speaks of was read [5d].
    ConsumedFirst,
    /// Progress of an older epoch than a tier's moves nothing.
    ProgressOfEpoch,
    /// L3's position falls back with the tiers' [16e].
    LowerL3,
    /// A tier answers where it takes a write: one that only lets itself be read would end each life as soon as it began.
    ProbeByWrite,
}
