//! Whether a tier is of a later history than the database: it was restored from a backup, or another one stands in its place.
//! Readers pass such a tier by until that is put right (docs/operation.md, *state: future*).

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_source::{Database, epoch};
use lockstep_tiers::Answer;
use tokio::sync::Notify;

const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// A tier may hear of a new epoch before we do. Then it is looked for at once, but no oftener than this.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The database's newest epoch. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    epoch: Arc<AtomicU16>,
    doubted: Arc<Notify>,
}

impl History {
    /// Follows the database until shutdown. While it does not answer, what it said last holds.
    pub fn follow(database: Database, shutdown: Shutdown) -> Self {
        let history = History { epoch: Arc::new(AtomicU16::new(u16::MAX)), doubted: Arc::default() };
        let (epoch, doubted) = (history.epoch.clone(), history.doubted.clone());
        tokio::spawn(async move {
            while !shutdown.is_cancelled() {
                match epoch::current(&database).await {
                    Ok(current) => epoch.store(current.map_or(0, |current| current.number), Ordering::Relaxed),
                    Err(error) => tracing::debug!(%error, "the database's epoch is not known"),
                }
                tokio::time::sleep(LOOK_PAUSE).await;
                tokio::select! {
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    () = doubted.notified() => {}
                    () = shutdown.cancelled() => {}
                }
            }
        });
        history
    }

    /// Whether the tier that answered has applied what this database never had. Before the first look, nothing is.
    pub fn is_later(&self, answer: &Answer) -> bool {
        let is_later =
            answer.mark.as_ref().is_some_and(|mark| mark.position.epoch > self.epoch.load(Ordering::Relaxed));
        if is_later {
            self.doubted.notify_one();
        }
        is_later
    }
}
