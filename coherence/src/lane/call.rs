//! One call to a tier, until it answers; and what its answer means.

use lockstep_process::retry::Pauses;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_tiers::{Action, Applied, Apply, Outward};

use super::Turn;
use super::flow::Flow;

/// A call to a tier, whatever its `expect`.
pub(super) struct Call<'c> {
    pub(super) new: Position,
    pub(super) offset: i64,
    pub(super) floor: Option<Position>,
    pub(super) timeline: &'c str,
    pub(super) at: i64,
    pub(super) nonce: &'c str,
    pub(super) actions: &'c [(Key, Action)],
    pub(super) begun: bool,
}

impl Flow<'_> {
    /// Calls a tier until it answers. Returns the indices of entries that are now ours to fill.
    pub(super) async fn call(&mut self, at: usize, call: &Call<'_>) -> Result<Vec<usize>, Turn> {
        let mut pauses = Pauses::default();
        let done =
            self.purges.as_ref().and_then(|purges| *purges.done.borrow()).filter(|done| self.told != Some(*done));
        let mut silent = false;
        loop {
            let lane = &mut self.tiers[at];
            let carries = lane.tier.name == TierName::L2 && self.owner.is_some();
            let outward = self.owner.as_ref().filter(|_| carries).map(|owner| Outward {
                owner,
                begun: call.begun.then_some(call.new),
                done,
            });
            let batch = Apply {
                expect: lane.expect,
                new: call.new,
                offset: call.offset,
                floor: call.floor,
                timeline: call.timeline,
                at: call.at,
                nonce: call.nonce,
                actions: call.actions,
                outward,
            };
            // From here on it may land, even if the client has to send it more than once.
            if !lane.unseen.contains(&call.new) {
                lane.unseen.push(call.new);
            }
            let answer = lane.tier.apply(&self.lane.place, &batch).await;
            match answer {
                Ok(Applied::Ok { mine, .. }) => {
                    self.landed(at, call);
                    if carries {
                        self.told = done.or(self.told);
                    }
                    return Ok(mine);
                }
                Ok(Applied::Lost { position, .. }) if lane.unseen.contains(&position) => {
                    // A call of ours landed whose answer we never saw.
                    lane.expect = position;
                    lane.unseen.clear();
                    if position == call.new {
                        self.landed(at, call);
                        return Ok(Vec::new());
                    }
                }
                Ok(Applied::Lost { position, .. }) => return Err(self.lost(at, position)),
                Err(error) => {
                    if !silent {
                        silent = true;
                        tracing::warn!(tier = lane.tier.name.as_str(), group = %self.lane.place.group, partition = self.lane.place.partition, %error, "the tier does not answer; trying again");
                    }
                    if !pauses.wait(&self.lane.stop).await {
                        return Err(Turn::Stop);
                    }
                }
            }
        }
    }

    fn landed(&mut self, at: usize, call: &Call<'_>) {
        let lane = &mut self.tiers[at];
        lane.expect = call.new;
        lane.unseen.clear();
        let (topic, partition) = (&self.lane.topic, self.lane.place.partition as i32);
        self.lane.shared.reached.set(lane.tier.name, topic, partition, call.offset);
        if let Some((_, offset)) = self.purges.as_ref().and_then(|purges| *purges.done.borrow()) {
            self.lane.shared.reached.set(TierName::L3, topic, partition, offset);
        }
    }

    /// The watermark is neither where we left it nor where we sent it.
    fn lost(&self, at: usize, position: Position) -> Turn {
        let lane = &self.tiers[at];
        let (tier, group, partition) = (lane.tier.name.as_str(), &self.lane.place.group, self.lane.place.partition);
        if position > lane.expect {
            tracing::warn!(tier, %group, partition, %position, expected = %lane.expect, "another engine moved the watermark; leaving it the partition");
            return Turn::Rejoin;
        }
        tracing::warn!(tier, %group, partition, %position, expected = %lane.expect, "the tier forgot what it had applied; applying it again");
        Turn::Back
    }
}
