//! Waiting for a condition.

use std::time::Duration;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until there is something, for so long at most.
pub async fn until_within<T>(wait_max: Duration, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    tokio::time::timeout(wait_max, found).await.unwrap_or_else(|_| panic!("waited {wait_max:?} for {what}"))
}
