//! What is known of the source's visibility, from the answers so far. Pure.

use std::collections::VecDeque;

use lockstep_schemas::position::Lsn;

use super::{Passage, Verdict};
use crate::epoch::Epoch;
use crate::snapshot::Snapshot;

/// Pairs of the horizon that are kept; of more, the newest is dropped, which only delays the horizon.
const HORIZON_PAIRS_MAX: usize = 1_024;

/// What is known of the source's visibility. Pure.
#[derive(Default)]
pub(super) struct View {
    pub(super) epoch: Option<Epoch>,
    snapshot: Snapshot,
    /// The insert LSN of the answer before: read before the next answer's snapshot was taken.
    previous: Option<Lsn>,
    /// Every commit before `.0` has a transaction id below `.1`: the next id, read after the LSN.
    pairs: VecDeque<(Lsn, u64)>,
    pub(super) horizon: Lsn,
}

impl View {
    /// Takes an answer in. A new epoch forgets all: the new primary gives lost transaction ids out again.
    pub(super) fn learn(&mut self, epoch: Epoch, snapshot: Snapshot, insert: Lsn, next_xid: u64) {
        if self.epoch.as_ref() != Some(&epoch) {
            *self = View { epoch: Some(epoch), ..View::default() };
        }
        if let Some(previous) = self.previous.replace(insert)
            && self.pairs.len() < HORIZON_PAIRS_MAX
        {
            self.pairs.push_back((previous, next_xid));
        }
        while let Some((lsn, next_xid)) = self.pairs.front().copied() {
            if next_xid > snapshot.xmin {
                break;
            }
            self.horizon = self.horizon.max(lsn);
            self.pairs.pop_front();
        }
        self.snapshot = snapshot;
    }

    pub(super) fn judge(&self, passage: &Passage) -> Option<Verdict> {
        let epoch = self.epoch.as_ref()?;
        if passage.epoch < epoch.number {
            return Some(Verdict::OlderEpoch);
        }
        let passed = if passage.xids.is_empty() {
            // An event of no transaction, a new epoch: what was committed before it never comes through the log, so it must
            // be visible [13j].
            passage.through <= self.horizon
        } else {
            passage.through < self.horizon || passage.xids.iter().all(|xid| self.snapshot.sees(*xid))
        };
        (passage.epoch == epoch.number && passed).then_some(Verdict::Visible)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u16) -> Epoch {
        Epoch { number, system_identifier: "7".to_owned(), timeline: "00000001".to_owned(), slot: "s".to_owned() }
    }

    fn view(answers: &[(u16, &str, u64, u64)]) -> View {
        let mut view = View::default();
        for (number, snapshot, insert, next_xid) in answers {
            view.learn(epoch(*number), snapshot.parse().expect("a snapshot"), Lsn(*insert), *next_xid);
        }
        view
    }

    fn passage(epoch: u16, through: u64, xids: &[u32]) -> Passage {
        Passage { epoch, through: Lsn(through), xids: xids.to_vec() }
    }

    #[test]
    fn every_change_of_a_batch_must_be_visible() {
        let view = view(&[(1, "10:12:10", 100, 12)]);
        assert_eq!(view.judge(&passage(1, 90, &[11])), Some(Verdict::Visible));
        assert_eq!(view.judge(&passage(1, 90, &[11, 10])), None, "docs/protocol.md [5c]");
        assert_eq!(view.judge(&passage(2, 90, &[11])), None, "an epoch that the gate has not seen");
    }

    #[test]
    fn the_horizon_needs_no_xid() {
        // LSN 100 was read before a snapshot with xmax 12; only when xmin reaches 12 is all before 100 visible.
        let early = view(&[(1, "10:11:10", 100, 11), (1, "10:12:10", 200, 12), (1, "11:13:11", 300, 13)]);
        assert_eq!(early.horizon, Lsn(0));
        let late = view(&[(1, "10:11:10", 100, 11), (1, "10:12:10", 200, 12), (1, "12:14:12", 300, 14)]);
        assert_eq!(late.horizon, Lsn(100));
        assert_eq!(late.judge(&passage(1, 99, &[12])), Some(Verdict::Visible));
        assert_eq!(late.judge(&passage(1, 100, &[12])), None, "a commit that begins at the LSN came after it was read");
    }

    /// docs/protocol.md [13j]
    #[test]
    fn an_event_of_no_transaction_waits_for_the_horizon() {
        let waiting = view(&[(1, "10:12:10", 100, 12), (1, "10:12:10", 100, 12)]);
        assert_eq!(waiting.judge(&passage(1, 100, &[])), None, "10 is not visible, and may lie before 100");
        let idle = view(&[(1, "12:12:", 100, 12), (1, "12:12:", 100, 12)]);
        assert_eq!(idle.judge(&passage(1, 100, &[])), Some(Verdict::Visible), "nothing needs to be written for that");
    }

    /// A commit that waits for its standby: its record is in the log, its id is past every snapshot's xmax.
    #[test]
    fn a_written_commit_that_has_not_ended_holds_the_horizon() {
        let waiting = [(1, "725:725:", 100, 726), (1, "725:725:", 200, 726), (1, "725:725:", 300, 726)];
        assert_eq!(view(&waiting).horizon, Lsn(0));
        let ended = [waiting[0], waiting[1], (1, "726:726:", 300, 726)];
        assert_eq!(view(&ended).horizon, Lsn(200));
    }

    #[test]
    fn a_new_epoch_forgets_what_was_seen() {
        let view = view(&[(1, "50:50:", 100, 50), (1, "50:50:", 200, 50), (2, "40:40:", 90, 40)]);
        assert_eq!(view.horizon, Lsn(0));
        assert_eq!(view.judge(&passage(1, 50, &[45])), Some(Verdict::OlderEpoch));
        assert_eq!(view.judge(&passage(2, 50, &[45])), None, "transaction ids are given out again");
    }
}
