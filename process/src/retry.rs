//! Retry with growing, jittered pauses.

use std::fmt::Display;
use std::time::Duration;

use backoff::backoff::Backoff as _;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::Shutdown;

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Growing pauses between attempts, without an end: a service that is away is a state, not an exit.
pub struct Pauses(ExponentialBackoff);

impl Default for Pauses {
    fn default() -> Self {
        Pauses(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(PAUSE_MIN)
                .with_max_interval(PAUSE_MAX)
                .with_max_elapsed_time(None)
                .build(),
        )
    }
}

impl Pauses {
    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(PAUSE_MAX)
    }

    /// Waits for the next pause, or until shutdown; `false` at shutdown.
    pub async fn wait(&mut self, shutdown: &Shutdown) -> bool {
        tokio::select! {
            () = tokio::time::sleep(self.next_pause()) => true,
            () = shutdown.cancelled() => false,
        }
    }
}

/// Calls `attempt` until it succeeds or the process shuts down (`None`). Says so once when it begins to fail, and once
/// when it works again.
pub async fn until_ok<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    shutdown: &Shutdown,
    mut attempt: impl FnMut() -> F,
) -> Option<T> {
    let mut pauses = Pauses::default();
    let mut failures = 0_u32;
    loop {
        match attempt().await {
            Ok(value) => {
                if failures > 0 {
                    tracing::info!(failures, "{what}: works again");
                }
                return Some(value);
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "{what}: failed, trying again");
                }
                failures += 1;
                if !pauses.wait(shutdown).await {
                    return None;
                }
            }
        }
    }
}
