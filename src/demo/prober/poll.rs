//! Looking at one copy of a product until it tells of a probe.

use crate::demo::prober::latency::Latency;
use redis::RedisResult;
use std::time::Duration;
use tokio::time::Instant;

/// A probe that was not seen for so long counts as seen then, and as timed out.
const PROBE_MAX: Duration = Duration::from_secs(10);
/// The pause between two looks at the beginning; it grows with the wait, so that a tier that is far behind is not
/// hammered, and the error of a measurement stays within two per cent.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_SHARE: u32 = 50;
const PREFIX: &str = "probe ";

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// An older text, or no answer.
    NotYet,
    /// This probe, or a later one of the same product.
    Seen,
    /// The entry is not there.
    Absent,
}

/// The text that the `number`th probe writes.
pub fn text(number: u64) -> String {
    format!("{PREFIX}{number}")
}

/// What a description tells about the `number`th probe.
pub fn judge(description: &str, number: u64) -> Look {
    let found: Option<u64> = description.strip_prefix(PREFIX).and_then(|found| found.parse().ok());
    if found.is_some_and(|found| found >= number) { Look::Seen } else { Look::NotYet }
}

/// What `HGET entry description` and `EXISTS entry`, asked together, tell about the `number`th probe.
pub fn judge_entry(answer: &RedisResult<(Option<String>, bool)>, number: u64) -> Look {
    match answer {
        Ok((_, false)) => Look::Absent,
        Ok((Some(description), true)) => judge(description, number),
        Ok((None, true)) | Err(_) => Look::NotYet,
    }
}

/// Looks until the probe is seen, and records how long after `committed` that was.
pub async fn until_seen<F: Future<Output = Look>>(committed: Instant, latency: &Latency, mut look: impl FnMut() -> F) {
    loop {
        match look().await {
            Look::Seen => return latency.record(committed, committed.elapsed()),
            Look::Absent => return latency.skip(committed),
            Look::NotYet if committed.elapsed() >= PROBE_MAX => return latency.time_out(committed, PROBE_MAX),
            Look::NotYet => tokio::time::sleep((committed.elapsed() / PAUSE_SHARE).max(PAUSE_MIN)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_probe_proves_the_earlier() {
        for (description, expected) in
            [("probe 7", Look::Seen), ("probe 12", Look::Seen), ("probe 6", Look::NotYet), ("old", Look::NotYet)]
        {
            assert_eq!(judge(description, 7), expected, "{description}");
        }
        assert_eq!(judge_entry(&Ok((None, false)), 7), Look::Absent);
        assert_eq!(judge_entry(&Ok((None, true)), 7), Look::NotYet);
    }
}
