//! The rules of docs/protocol.md, each of them a switch: a model with one rule off shows what the rule is for.

/// One rule. All are on, unless a scenario says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// A refresh never creates an entry.
    AbsentStaysAbsent,
    /// A refresh that meets a marker deletes it and writes nothing.
    ActionVoidsLease,
    /// A refresh between `low` and `high` drops.
    InBetweenDrops,
    /// An unknown column is left out, and never written as a value.
    UnknownIsLeftOut,
    /// An insert invalidates.
    InsertInvalidates,
    /// A refresh never turns a cached absence into a row.
    AbsenceIsNotRefreshed,
    /// A drop deletes the marker too.
    DropDeletesMarker,
    /// An action that keeps or refreshes an entry deletes a marker beside it.
    KeepDeletesMarker,
    /// A fill deletes its marker.
    FillDeletesMarker,
    /// A nonce is random: nobody else ever has it.
    RandomNonce,
    /// Who voids a lease or drops an entry takes the next lease itself.
    EngineTakesLease,
    /// `low` is the watermark that came with the lease.
    LowFromLease,
    /// `high` is read in the statement that reads the row.
    HighFromStatement,
    /// A fill whose source is behind the watermark at the lease is refused.
    SourceNotBehind,
    /// A view through another is filled from that one only.
    OnlyThroughL2,
    /// A row of a snapshot never writes a tier.
    SnapshotNeverWrites,
    /// Nothing is applied before it is visible.
    Gate,
    /// Each change of a batch is gated, not its newest only.
    GateEach,
    /// The lane holds until the gate opens: pos never passes a commit that is not visible.
    Hold,
    /// `expect` is compared before anything is written, in the call that writes.
    CompareFirst,
    /// A lane starts from the watermark that it finds on the tier.
    StartFromWatermark,
    /// The log's end is read before the moment at which all is visible.
    EndBeforeMoment,
    /// A floor is raised to a moment at which all before it is visible.
    SettledMoment,
    /// A node without a watermark gets a floor; it is not believed to be empty.
    UnknownRaises,
    /// The watermark lies in the slot of its entries.
    WatermarkInSlot,
    /// A new epoch raises the floor.
    FloorAtEpoch,
    /// A fill below the floor is refused.
    FloorOnFills,
    /// A fill of another timeline is refused.
    TimelineOnFills,
    /// A purge is made in more than one round.
    MoreRounds,
    /// There is one round more than layers.
    RoundForEachLayer,
    /// A round begins when every response that was under way at the end of the last has ended.
    RoundsApart,
    /// The lane starts at `l3`, never at pos.
    StartAtL3,
    /// At each start `l3` is lowered to the least pos of the tiers, on the tier, before the replay.
    LowerL3,
    /// `l3` moves only where pos is as expected.
    CompareForL3,
    /// `l3` and `l3_begun` move only under the owner that was written last.
    CompareOwner,
    /// The origin answers `no-store` where what it read is behind `l3_begun`.
    NoStore,
    /// `l3_begun` moves before the first round.
    BegunBeforeRounds,
    /// A call of a former owner is refused as a whole, also where pos is as it expects.
    OwnerFencesCalls,
    /// A new epoch's event is gated like any change: the floor waits until all before it is visible.
    GateEpochEvent,
    /// Stamps are read before the database.
    StampsFirst,
    /// A missing stamp equals nothing.
    MissingIsNotEqual,
    /// A stamp is random.
    RandomStamp,
    /// A change is published to its tags before its row is applied to L2.
    PublishBeforeL2,
}

/// The rules that are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// All of them.
    pub const ALL: Rules = Rules(u64::MAX);
    /// Without some of them.
    #[must_use]
    pub fn without(self, off: &[Rule]) -> Self {
        Rules(off.iter().fold(self.0, |rules, rule| rules & !(1 << *rule as u8)))
    }
    /// Whether a rule is on.
    #[inline]
    pub fn has(self, rule: Rule) -> bool {
        self.0 & 1 << rule as u8 != 0
    }
}
