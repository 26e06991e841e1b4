//! How fast the shop changes, and for how long: an open loop, so a slow pipeline gets no easier shop.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// The writers go on past the asked time until this share of `rate * lasts` changes is made ...
const CHANGES_SHARE_MIN: f64 = 0.85;
/// ... but no longer than this many times the asked time.
const OVERTIME_MAX: u32 = 3;

/// The schedule that all writers share, and the count of what they committed.
pub struct Pace {
    rate: f64,
    lasts: Duration,
    began: Instant,
    /// Changes that have been scheduled: what is committed, and the estimates of what is under way.
    scheduled: AtomicI64,
    committed: AtomicU64,
}

impl Pace {
    /// Starts now, at `rate` changes per second.
    pub fn start(rate: u32, lasts: Duration) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, lasts, began: Instant::now(), scheduled: AtomicI64::new(0), committed: AtomicU64::new(0) }
    }

    /// Waits until a transaction of about `estimate` changes is due. `false`: the time is over.
    pub async fn due(&self, estimate: i64) -> bool {
        if self.is_over() {
            return false;
        }
        let before = self.scheduled.fetch_add(estimate, Relaxed).max(0);
        let after = Duration::from_secs_f64(before as f64 / self.rate);
        tokio::time::sleep_until(self.began + after.min(self.lasts * OVERTIME_MAX)).await;
        true
    }

    /// Notes that the transaction scheduled with `estimate` committed `changes` changes.
    pub fn committed(&self, estimate: i64, changes: u64) {
        self.scheduled.fetch_add(i64::try_from(changes).unwrap_or(i64::MAX) - estimate, Relaxed);
        self.committed.fetch_add(changes, Relaxed);
    }

    /// Changes committed so far.
    pub fn changes(&self) -> u64 {
        self.committed.load(Relaxed)
    }

    /// How long the traffic has lasted.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether the second half of the asked time has begun.
    pub fn is_second_half(&self) -> bool {
        self.elapsed() * 2 >= self.lasts
    }

    fn is_over(&self) -> bool {
        let enough = self.changes() as f64 >= self.rate * self.lasts.as_secs_f64() * CHANGES_SHARE_MIN;
        let elapsed = self.elapsed();
        (elapsed >= self.lasts && enough) || elapsed >= self.lasts * OVERTIME_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_when_time_and_changes_are() {
        let pace = Pace::start(1_000, Duration::ZERO);
        assert!(!pace.due(10).await, "no time, no turn");
        let pace = Pace::start(1_000, Duration::from_millis(50));
        let mut turns = 0;
        while pace.due(10).await {
            pace.committed(10, 10);
            turns += 1;
        }
        assert!((5..=7).contains(&turns), "50 ms at 1,000/s are 5 turns of 10: {turns}");
    }
}
