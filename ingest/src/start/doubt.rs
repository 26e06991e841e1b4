//! Whether this is the history that we read before.

use lockstep_schemas::position::Lsn;
use lockstep_source::epoch::Epoch;
use lockstep_source::preflight;

use super::Checkpoint;

/// What Kafka has of our past.
pub(super) struct LogState {
    /// A topic was missing, and has been created.
    pub made_anew: bool,
    pub checkpoint: Option<Checkpoint>,
    /// The schemas are gone: ids must not be given out once more.
    pub schemas_gone: bool,
    /// Of each group, the end of each partition.
    pub ends: Vec<(String, Vec<i64>)>,
}

impl LogState {
    /// Whether some partition ends before what we once published there.
    fn is_cut(&self) -> bool {
        let Some(checkpoint) = &self.checkpoint else { return false };
        self.ends.iter().any(|(group, ends)| {
            let known = checkpoint.next.get(group).map_or(&[][..], Vec::as_slice);
            known.iter().zip(ends).any(|(known, end)| known > end)
        })
    }
}

/// Why this may not be the history that we read before. Pure.
pub(super) fn doubt(
    known: Option<&Epoch>,
    (system_identifier, timeline): (&str, &str),
    (slot, log_end): (Option<&preflight::Slot>, Lsn),
    log: &LogState,
) -> Option<&'static str> {
    let Some(known) = known else { return Some("first start") };
    if known.system_identifier != system_identifier {
        return Some("another server");
    }
    if known.timeline != timeline {
        return Some("another timeline");
    }
    let Some(slot) = slot else { return Some("the slot is gone") };
    if slot.wal_status == "lost" {
        return Some("the slot has lost its log");
    }
    if log.made_anew {
        return Some("a topic was missing");
    }
    if log.schemas_gone {
        return Some("the schemas are gone");
    }
    if log.is_cut() {
        return Some("the log ends before what was published");
    }
    match &log.checkpoint {
        None => Some("the checkpoint is gone"),
        Some(checkpoint) if checkpoint.epoch != known.number => Some("the checkpoint is of another epoch"),
        Some(checkpoint) if slot.confirmed_flush > checkpoint.confirmed => Some("the slot is past our checkpoint"),
        // The server was put back to an older state of itself, with the same name and timeline.
        Some(checkpoint) if log_end < checkpoint.confirmed => Some("the server's log ends before our checkpoint"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_schemas::snapshot::Snapshots;

    use super::*;

    #[test]
    fn on_any_doubt_a_new_epoch() {
        let known = Epoch {
            number: 3,
            system_identifier: "7".to_owned(),
            timeline: "00000001".to_owned(),
            slot: "s".to_owned(),
        };
        let slot = |confirmed, status: &str| preflight::Slot {
            confirmed_flush: Lsn(confirmed),
            wal_status: status.to_owned(),
            active_pid: None,
            retained_bytes: 0,
            unread_bytes: 0,
        };
        let checkpoint = |epoch, confirmed| {
            let next = [("g".to_owned(), vec![7, 9])].into();
            Some(Checkpoint {
                slot: None,
                epoch,
                confirmed: Lsn(confirmed),
                next,
                announced: BTreeMap::new(),
                members: BTreeMap::new(),
                snapshots: Snapshots::default(),
            })
        };
        let log = |checkpoint| LogState {
            made_anew: false,
            checkpoint,
            schemas_gone: false,
            ends: vec![("g".to_owned(), vec![7, 12])],
        };
        let check = |system: &str, timeline: &str, slot: Option<preflight::Slot>, checkpoint: Option<Checkpoint>| {
            doubt(Some(&known), (system, timeline), (slot.as_ref(), Lsn(12)), &log(checkpoint))
        };
        let good = || Some(slot(10, "reserved"));
        assert_eq!(check("7", "00000001", good(), checkpoint(3, 10)), None);
        assert_eq!(check("7", "00000001", good(), checkpoint(3, 12)), None, "the slot may be behind");
        assert!(check("8", "00000001", good(), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000002", good(), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", None, checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", Some(slot(10, "lost")), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", Some(slot(11, "reserved")), checkpoint(3, 10)).is_some(), "a gap");
        assert!(check("7", "00000001", good(), checkpoint(3, 13)).is_some(), "a server that was put back");
        assert!(check("7", "00000001", good(), checkpoint(4, 10)).is_some());
        assert!(check("7", "00000001", good(), None).is_some());
        let anew = LogState { made_anew: true, ..log(checkpoint(3, 10)) };
        let cut = LogState { ends: vec![("g".to_owned(), vec![7, 8])], ..log(checkpoint(3, 10)) };
        let gone = LogState { schemas_gone: true, ..log(checkpoint(3, 10)) };
        for log in [anew, cut, gone] {
            assert!(
                doubt(Some(&known), ("7", "00000001"), (good().as_ref(), Lsn(12)), &log).is_some(),
                "places in the log are void"
            );
        }
    }
}
