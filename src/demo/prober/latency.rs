//! How long a commit took to be seen in each tier.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time that a histogram tells apart; a probe's time-out is below it.
const LATENCY_US_MAX: u64 = 60_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// The latencies of one tier: all of them, and those since the last line.
pub struct Latency {
    /// What began earlier is of the last line alone: the machine was still warming up.
    from: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    all: Histogram<u64>,
    recent: Histogram<u64>,
    unsampled: u64,
    timed_out: u64,
}

/// Two quantiles of a number of samples, in ms.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// How many samples.
    pub samples: u64,
    /// Half were faster.
    pub p50_ms: f64,
    /// One in a hundred was slower.
    pub p99_ms: f64,
}

impl Latency {
    /// Nothing measured yet; what begins before `from` will not count.
    pub fn counting_from(from: Instant) -> anyhow::Result<Self> {
        let empty = || Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS);
        Ok(Self { from, inner: Mutex::new(Inner { all: empty()?, recent: empty()?, unsampled: 0, timed_out: 0 }) })
    }

    /// Records one sample, and when its time began.
    pub fn record(&self, began: Instant, latency: Duration) {
        let us = (latency.as_micros() as u64).max(1);
        let mut inner = self.lock();
        if began >= self.from {
            inner.all.saturating_record(us);
        }
        inner.recent.saturating_record(us);
    }

    /// Counts a probe whose entry was not there: nothing stale to see, and nothing to measure.
    pub fn skip(&self, began: Instant) {
        self.lock().unsampled += u64::from(began >= self.from);
    }

    /// Counts a probe that was never seen, and records the time-out as its latency.
    pub fn time_out(&self, began: Instant, after: Duration) {
        self.record(began, after);
        self.lock().timed_out += u64::from(began >= self.from);
    }

    /// Of all samples.
    pub fn all(&self) -> Quantiles {
        quantiles(&self.lock().all)
    }

    /// Milliseconds at the quantiles of a distribution: p50, p90, p99, p99.9, and the greatest.
    pub fn distribution(&self) -> [f64; 5] {
        let all = &self.lock().all;
        [0.5, 0.9, 0.99, 0.999, 1.0].map(|quantile| (all.value_at_quantile(quantile) as f64 / 10.0).round() / 100.0)
    }

    /// Of the samples since the last call.
    pub fn take_recent(&self) -> Quantiles {
        let mut inner = self.lock();
        let recent = quantiles(&inner.recent);
        inner.recent.reset();
        recent
    }

    /// For the JSON object; null where nothing was measured.
    pub fn to_json(&self) -> Value {
        let all = self.all();
        let (unsampled, timed_out) = {
            let inner = self.lock();
            (inner.unsampled, inner.timed_out)
        };
        let ms = |value: f64| if all.samples == 0 { Value::Null } else { json!(value) };
        json!({"p50": ms(all.p50_ms), "p99": ms(all.p99_ms), "samples": all.samples, "unsampled": unsampled, "timed_out": timed_out})
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Display for Quantiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.samples == 0 {
            return f.write_str("-");
        }
        write!(f, "{:.1}/{:.1}", self.p50_ms, self.p99_ms)
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Quantiles {
    let ms = |quantile| (histogram.value_at_quantile(quantile) as f64 / 10.0).round() / 100.0;
    Quantiles { samples: histogram.len(), p50_ms: ms(0.5), p99_ms: ms(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_samples_are_told_once() -> anyhow::Result<()> {
        let began = Instant::now();
        let latency = Latency::counting_from(began)?;
        latency.record(began - Duration::from_secs(1), Duration::from_millis(1));
        assert_eq!((latency.take_recent().samples, latency.all().samples), (1, 0));
        for ms in 1..=100 {
            latency.record(began, Duration::from_millis(ms));
        }
        let recent = latency.take_recent();
        assert_eq!((recent.samples, recent.p50_ms.round(), recent.p99_ms.round()), (100, 50.0, 99.0));
        assert_eq!(latency.take_recent().to_string(), "-");
        latency.time_out(began, Duration::from_secs(10));
        assert_eq!(latency.all().samples, 101);
        assert_eq!(latency.to_json()["timed_out"], 1);
        Ok(())
    }
}
