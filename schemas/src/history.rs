//! Which history the database is of, as whoever reads tiers must know it. A tier of a later one has applied what this database
//! never had: it was restored from a backup, or another one stands in its place (docs/operation.md, *state: future*).

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use crate::position::Position;

/// What the database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its newest epoch; 0: none has begun.
    pub epoch: u16,
    /// Its timeline, eight hexadecimal digits.
    pub timeline: String,
}

impl Known {
    /// Whether a tier at this position, filled from that timeline, is of a later history. Where the database's own timeline is
    /// the older one it is no restored database but a deposed primary, and the tier is right.
    fn is_before(&self, position: Position, timeline: &str) -> bool {
        position.epoch > self.epoch && *self.timeline >= *timeline
    }
}

/// The newest that the database has said. Clones share it.
#[derive(Clone, Debug)]
pub struct History {
    known: watch::Receiver<Option<Known>>,
    doubted: Arc<Notify>,
}

/// The other end: where whoever asks the database tells what it says.
#[derive(Debug)]
pub struct Teller {
    /// Takes what it says.
    pub tell: watch::Sender<Option<Known>>,
    doubted: Arc<Notify>,
}

impl Teller {
    /// Waits until somebody has met a tier that seems to be of a later history: a tier may hear of a new epoch first.
    pub async fn doubted(&self) {
        self.doubted.notified().await;
    }
}

impl History {
    /// Nothing is known yet.
    pub fn new() -> (Teller, History) {
        let (tell, known) = watch::channel(None);
        let doubted = Arc::new(Notify::new());
        (Teller { tell, doubted: doubted.clone() }, History { known, doubted })
    }

    /// Whether a tier at this position, filled from that timeline, is of a later history than the database. As long as nothing
    /// is known, no tier is.
    pub fn is_later(&self, position: Position, timeline: &str) -> bool {
        let is_later = self.known.borrow().as_ref().is_some_and(|known| known.is_before(position, timeline));
        if is_later {
            self.doubted.notify_one();
        }
        is_later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restored_database_is_told_from_a_deposed_primary() {
        let (teller, history) = History::new();
        let at = |epoch| Position { epoch, ..Position::LEAST };
        assert!(!history.is_later(at(9), "00000001"), "nothing is known yet");
        teller.tell.send_replace(Some(Known { epoch: 2, timeline: "00000002".to_owned() }));
        for (epoch, timeline, expected) in [
            (2, "00000002", false),
            (1, "00000001", false),
            (3, "00000002", true),
            (3, "00000001", true),
            (3, "00000003", false),
            (0, "", false),
        ] {
            assert_eq!(history.is_later(at(epoch), timeline), expected, "{epoch} {timeline}");
        }
    }
}
