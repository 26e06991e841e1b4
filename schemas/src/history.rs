//! Which history the database is of, as whoever reads tiers must know it. A tier of a later one has applied what this database
//! never had: it was restored from a backup, or another one stands in its place (docs/operation.md, *state: future*).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::position::Position;

/// What was said so lately is not asked for again by whoever doubts it.
const FRESH_MAX: Duration = Duration::from_secs(1);
/// Whoever doubts it waits for a newer word no longer than this.
const WORD_WAIT_MAX: Duration = Duration::from_millis(300);

/// What the database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// When it was asked.
    pub asked_at: Instant,
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
    /// is known, no tier is. A tier may hear of a new epoch before we do: where it seems to be later, the database is asked
    /// first whether it still is.
    pub async fn is_later(&self, position: Position, timeline: &str) -> bool {
        let is_before = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.is_before(position, timeline));
        if !is_before(&self.known.borrow()) {
            return false;
        }
        let now = Instant::now();
        self.doubted.notify_one();
        let fresh = |known: &Option<Known>| known.as_ref().is_some_and(|known| known.asked_at + FRESH_MAX >= now);
        let mut known = self.known.clone();
        let _ = tokio::time::timeout(WORD_WAIT_MAX, known.wait_for(fresh)).await;
        is_before(&self.known.borrow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_restored_database_is_told_from_a_deposed_primary() {
        let (teller, history) = History::new();
        let at = |epoch| Position { epoch, ..Position::LEAST };
        let known = |epoch, asked_at| Some(Known { asked_at, epoch, timeline: "00000002".to_owned() });
        assert!(!history.is_later(at(9), "00000001").await, "nothing is known yet");
        teller.tell.send_replace(known(2, Instant::now()));
        for (epoch, timeline, expected) in [
            (2, "00000002", false),
            (1, "00000001", false),
            (3, "00000002", true),
            (3, "00000001", true),
            (3, "00000003", false),
            (0, "", false),
        ] {
            assert_eq!(history.is_later(at(epoch), timeline).await, expected, "{epoch} {timeline}");
        }
    }

    #[tokio::test]
    async fn whoever_doubts_waits_for_a_newer_word() {
        let (teller, history) = History::new();
        let known = |epoch, asked_at| Some(Known { asked_at, epoch, timeline: "00000002".to_owned() });
        let third = Position { epoch: 3, ..Position::LEAST };
        let before = Instant::now();
        let now = before + FRESH_MAX * 2;
        teller.tell.send_replace(known(2, before));
        tokio::time::sleep_until(before + FRESH_MAX + Duration::from_millis(50)).await;
        let telling = async {
            teller.doubted().await;
            teller.tell.send_replace(known(3, now));
        };
        assert!(!tokio::join!(history.is_later(third, "00000002"), telling).0, "a new epoch has begun");
        teller.tell.send_replace(known(2, before));
        assert!(history.is_later(third, "00000002").await, "nobody says anything newer");
    }
}
