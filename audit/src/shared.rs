//! What the auditor's tasks share: the reader, what was found so far, and how fast each may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::AuditConfig;
use lockstep_schemas::policy::TierName;

use crate::findings::{Counts, Findings};
use crate::full::{Auditor, Hearing, Listener, Step};
use crate::metrics::AuditMetrics;
use crate::nines::{Checked, History, Window};

/// One copy costs about so many commands of its node: watermark, entry, life.
const COMMANDS_PER_COPY: f64 = 3.0;
/// Of the load of a tier, and of the database.
const SHARE_MAX: f64 = 0.01;
/// In the log; all are counted.
const TOLD_PER_MINUTE_MAX: u32 = 10;

pub(crate) struct Shared {
    pub auditor: Auditor,
    pub config: AuditConfig,
    pub metrics: AuditMetrics,
    history: Mutex<History>,
    /// The minute, and how many wrong copies were told in it.
    told: Mutex<(u64, u32)>,
    rates: Rates,
}

/// Copies a second that may be looked at, by tier.
#[derive(Default)]
struct Rates {
    l2: AtomicU32,
    l1: AtomicU32,
    l3: AtomicU32,
}

impl Rates {
    fn of(&self, tier: TierName) -> &AtomicU32 {
        match tier {
            TierName::L2 => &self.l2,
            TierName::L1 => &self.l1,
            TierName::L3 => &self.l3,
        }
    }
}

/// Minutes since 1970.
pub(crate) fn minute() -> u64 {
    u64::try_from(now_micros()).unwrap_or(0) / 60_000_000
}

/// How many copies a second may be looked at: one in a hundred of the commands that a tier answers, of the transactions
/// that the database ends, where a look's rows count for a tenth of one each; and never fewer than were asked for.
pub(crate) fn rate(commands_per_second: f64, transactions_per_second: f64, min: u32) -> u32 {
    let by_tier = commands_per_second * SHARE_MAX / COMMANDS_PER_COPY;
    let by_database = transactions_per_second * SHARE_MAX * 10.0;
    (by_tier.min(by_database) as u32).max(min)
}

impl Shared {
    pub fn new(auditor: Auditor, config: AuditConfig, metrics: AuditMetrics) -> Self {
        let shared = Shared {
            auditor,
            config,
            metrics,
            history: Mutex::default(),
            told: Mutex::default(),
            rates: Rates::default(),
        };
        TierName::INSIDE_OUT.into_iter().for_each(|tier| shared.allow(tier, config.copies_per_second_min));
        shared
    }

    pub fn allow(&self, tier: TierName, copies_per_second: u32) {
        self.rates.of(tier).store(copies_per_second.max(1), Ordering::Relaxed);
    }

    pub fn rate(&self, tier: TierName) -> u32 {
        self.rates.of(tier).load(Ordering::Relaxed).max(1)
    }

    /// What is remembered, for whoever keeps it.
    pub fn with_history<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes findings over, and tells the wrong ones; how many copies there were.
    pub fn take(&self, findings: &mut Findings) -> u64 {
        let found = std::mem::take(findings);
        let minute = minute();
        let mut looked = 0;
        for ((tier, _, view), counts) in &found.counts {
            looked += counts.compared() + counts.dead;
            self.count(minute, tier, view, counts);
        }
        for violation in &found.listed {
            if self.may_tell(minute) {
                tracing::error!(%violation, "a copy is wrong");
            }
        }
        looked
    }

    fn count(&self, minute: u64, tier: &str, view: &str, counts: &Counts) {
        let Counts { same, in_flight, stale, missing, orphan, dead, unknown } = *counts;
        let results = [
            ("same", same),
            ("in_flight", in_flight),
            ("stale", stale),
            ("missing", missing),
            ("orphan", orphan),
            ("dead", dead),
            ("unknown", unknown),
        ];
        for (result, count) in results {
            self.metrics.checked(tier, view, result, count);
        }
        let checked = Checked { checks: same + counts.wrong(), wrong: counts.wrong() };
        if checked.checks > 0 {
            self.with_history(|history| history.add(minute, &format!("{tier}/{view}"), checked));
        }
    }

    fn may_tell(&self, minute: u64) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0 != minute {
            *told = (minute, 0);
        }
        told.1 += 1;
        told.1 <= TOLD_PER_MINUTE_MAX
    }

    /// Shows the windows as they are now.
    pub fn show(&self) {
        let minute = minute();
        for window in Window::ALL {
            let of = self.with_history(|history| history.over(window, minute));
            for (name, checked) in of {
                if let (Some((tier, view)), Some(ratio)) = (name.split_once('/'), checked.ratio()) {
                    self.metrics.correct(tier, view, window.as_str(), ratio);
                }
            }
        }
    }
}

/// Takes the findings of each step over, and waits as long as the copies of it may take.
pub(crate) struct Paced {
    pub shared: Arc<Shared>,
    pub tier: TierName,
    pub shutdown: Shutdown,
    /// Copies looked at so far.
    pub looked: u64,
}

impl Listener for Paced {
    fn heard<'a>(&'a mut self, _: Step<'a>, findings: &'a mut Findings) -> Hearing<'a> {
        Box::pin(async move {
            let looked = self.shared.take(findings);
            self.looked += looked;
            let pause = Duration::from_secs_f64(looked as f64 / f64::from(self.shared.rate(self.tier)));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => {}
            }
        })
    }
}

/// Nothing was seen of an entity yet, by group.
pub(crate) type Seen = BTreeMap<Arc<str>, BTreeSet<String>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_and_never_less_than_was_asked_for() {
        assert_eq!(rate(0.0, 0.0, 20), 20);
        assert_eq!(rate(30_000.0, 10_000.0, 20), 100);
        assert_eq!(rate(300_000.0, 1_000.0, 20), 100, "the database is the narrower one");
    }
}
