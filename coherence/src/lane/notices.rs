//! What operators hear of a lane: log lines, counters, and offsets for lag tools.

use super::Shell;
use crate::core::event::{Notice, Trouble};

impl Shell {
    pub(super) fn tell(&self, notice: Notice) {
        let (topic, group, partition) = (&self.lane.topic, &self.lane.place.group, self.lane.place.partition);
        match notice {
            Notice::Repeated => drop(self.lane.shared.metrics.repeated.inc()),
            Notice::Reached(tier, offset) => self.lane.shared.reached.set(tier, topic, partition as i32, offset),
            Notice::FloorRose(tier) => self.lane.shared.sweeper.add(tier, &self.lane.place),
            Notice::CannotBegin(why) => tracing::warn!(%group, partition, %why, "the lane can't begin yet"),
            Notice::FloorRaised(tier, floor) => {
                tracing::info!(tier = tier.as_str(), %group, partition, %floor, "floor raised: the tier was unknown, or its place in the log is gone");
            }
            Notice::Silent(tier, trouble @ Trouble::Away(_)) => {
                tracing::warn!(tier = tier.as_str(), %group, partition, error = trouble.why(), "the tier does not answer; trying again");
            }
            Notice::Silent(tier, trouble @ Trouble::Moving(_)) => {
                tracing::warn!(tier = tier.as_str(), %group, partition, error = trouble.why(), "the partition's slot is on the move; trying again");
            }
            Notice::Detached(tier, trouble) => {
                tracing::warn!(tier = tier.as_str(), %group, partition, error = trouble.why(), "the tier is detached: the others go on without it");
            }
            Notice::StillAway(tier, trouble) => {
                tracing::debug!(tier = tier.as_str(), %group, partition, error = trouble.why(), "the detached tier is not back yet");
            }
            Notice::Back(tier) => {
                tracing::info!(tier = tier.as_str(), %group, partition, "the tier answers again; it catches up from the log");
            }
            Notice::OtherOwner(tier, position) => {
                tracing::warn!(tier = tier.as_str(), %group, partition, %position, "another engine moved the watermark; leaving it the partition");
            }
            Notice::Forgot(tier, position) => {
                self.lane.shared.metrics.forgot(tier);
                self.lane.shared.reached.forgot(tier, topic, partition as i32);
                self.lane.shared.doubts.send_modify(|doubts| *doubts += 1);
                tracing::warn!(tier = tier.as_str(), %group, partition, %position, "the tier forgot what it had applied; applying it again");
            }
            Notice::Unreadable(next, why) => {
                tracing::error!(topic, partition, next, %why, "a record that can't be read is skipped; entries of its partition are dropped in its stead");
            }
            Notice::Gone(expected, got) => {
                tracing::warn!(
                    topic,
                    partition,
                    expected,
                    got,
                    "records are gone from the log; entries of their partition are dropped in their stead"
                );
            }
            Notice::MadeAnew => {
                // What had been reached is an offset of the old one.
                self.lane.shared.reached.forget(topic, partition as i32);
                tracing::warn!(topic, partition, "the log was made anew; beginning again");
            }
        }
    }
}
