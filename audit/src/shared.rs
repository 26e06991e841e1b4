//! What the auditor's tasks share: the reader, what was found so far, and how fast each may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::AuditConfig;
use lockstep_schemas::policy::TierName;
use tokio::sync::mpsc::Sender;

use crate::findings::{Counts, Findings, Violation};
use crate::full::{Auditor, Hearing, Listener, Step};
use crate::metrics::AuditMetrics;
use crate::nines::{Checked, History, Window};
use crate::notes::Notes;
use crate::pace::{COMMANDS_PER_COPY, Load, SECONDS_PER_COPY_AT_FIRST, Share, pause, share};

/// In the log; all are counted.
const TOLD_PER_MINUTE_MAX: u32 = 10;

pub(crate) struct Shared {
    pub auditor: Auditor,
    pub config: AuditConfig,
    pub metrics: AuditMetrics,
    history: Mutex<History>,
    notes: Mutex<Notes>,
    /// Where wrong copies are to be repaired: who asks for it.
    repairs: Option<Sender<Violation>>,
    /// Who looks for what touched them last.
    touches: Sender<Violation>,
    told: Told,
    repairs_told: Told,
    paces: [Pace; 3],
}

/// Lines of a kind in the log: the minute, and how many were told in it.
#[derive(Default)]
struct Told(Mutex<(u64, u32)>);

impl Told {
    fn may_tell(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute();
        if told.0 != minute {
            *told = (minute, 0);
        }
        told.1 += 1;
        told.1 <= TOLD_PER_MINUTE_MAX
    }
}

/// How fast a tier may be looked at, and how fast it would have to be, as the bits of copies a second; and the commands that
/// walks have sent.
#[derive(Default)]
struct Pace {
    walk: AtomicU64,
    recent: AtomicU64,
    needed: AtomicU64,
    walked: AtomicU64,
}

/// Minutes since 1970.
pub(crate) fn minute() -> u64 {
    u64::try_from(now_micros()).unwrap_or(0) / 60_000_000
}

impl Shared {
    pub fn new(
        auditor: Auditor,
        config: AuditConfig,
        metrics: AuditMetrics,
        run: String,
        repairs: Option<Sender<Violation>>,
        touches: Sender<Violation>,
    ) -> Self {
        let at_first = Load { seconds_per_copy: SECONDS_PER_COPY_AT_FIRST, ..Load::default() };
        let floor = share(at_first, config.copies_per_second_min, 0.0);
        let shared = Shared {
            auditor,
            config,
            metrics,
            history: Mutex::default(),
            notes: Mutex::new(Notes::new(run)),
            repairs,
            touches,
            told: Told::default(),
            repairs_told: Told::default(),
            paces: Default::default(),
        };
        TierName::INSIDE_OUT.into_iter().for_each(|tier| shared.allow(tier, floor));
        shared
    }

    fn pace(&self, tier: TierName) -> &Pace {
        match tier {
            TierName::L2 => &self.paces[0],
            TierName::L1 => &self.paces[1],
            TierName::L3 => &self.paces[2],
        }
    }

    pub fn allow(&self, tier: TierName, share: Share) {
        self.pace(tier).walk.store(share.walk.to_bits(), Ordering::Relaxed);
        self.pace(tier).recent.store(share.recent.to_bits(), Ordering::Relaxed);
    }

    /// Copies a second of a tier.
    pub fn share(&self, tier: TierName) -> Share {
        let of = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        Share { walk: of(&self.pace(tier).walk), recent: of(&self.pace(tier).recent) }
    }

    /// A walk over a tier has so many copies before it.
    pub fn need(&self, tier: TierName, copies: u64) {
        let needed = copies as f64 / self.config.cycle.as_secs_f64();
        self.pace(tier).needed.store(needed.to_bits(), Ordering::Relaxed);
    }

    /// Copies of a tier a second that make a walk in the stated time.
    pub fn needed(&self, tier: TierName) -> f64 {
        f64::from_bits(self.pace(tier).needed.load(Ordering::Relaxed))
    }

    /// Commands that walks over a tier have sent so far.
    pub fn walked(&self, tier: TierName) -> u64 {
        self.pace(tier).walked.load(Ordering::Relaxed)
    }

    /// What is remembered, for whoever keeps it.
    pub fn with_history<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The notes of what was wrong.
    pub fn with_notes<T>(&self, with: impl FnOnce(&mut Notes) -> T) -> T {
        with(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes findings over, and tells the wrong ones; how many copies were asked for.
    pub fn take(&self, findings: &mut Findings) -> u64 {
        let found = std::mem::take(findings);
        let minute = minute();
        for ((tier, _, view), counts) in &found.counts {
            self.count(minute, tier, view, counts);
        }
        for (tier, key) in &found.backwards {
            self.metrics.regressed(tier, "entry");
            if self.told.may_tell() {
                tracing::error!(tier, key, "an entry went backwards: its node forgot, or somebody else writes there");
            }
        }
        for violation in &found.listed {
            if self.told.may_tell() {
                tracing::error!(%violation, "a copy is wrong");
            }
            if self.with_notes(|notes| notes.met(violation, now_micros())) {
                // Of more at once than wait for it, that stays unknown.
                drop(self.touches.try_send(violation.clone()));
            }
            if let Some(repairs) = &self.repairs
                && repairs.try_send(violation.clone()).is_err()
            {
                self.metrics.repairs_put_off.inc();
            }
        }
        found.looked
    }

    /// Whether the log may have another line about a repair.
    pub fn may_tell_repair(&self) -> bool {
        self.repairs_told.may_tell()
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

/// Takes the findings of each step over, and waits as long as what it has sent may take.
pub(crate) struct Paced {
    pub shared: Arc<Shared>,
    pub tier: TierName,
    pub shutdown: Shutdown,
    /// Copies looked at so far.
    pub looked: u64,
    /// What all had sent to the tier when the step began.
    spent: u64,
}

impl Paced {
    pub fn new(shared: Arc<Shared>, tier: TierName, shutdown: Shutdown) -> Self {
        let spent = shared.auditor.spent(tier).so_far();
        Paced { shared, tier, shutdown, looked: 0, spent }
    }
}

impl Listener for Paced {
    fn heard<'a>(&'a mut self, _: Step<'a>, findings: &'a mut Findings) -> Hearing<'a> {
        Box::pin(async move {
            let looked = self.shared.take(findings);
            self.looked += looked;
            // The edge's share is counted in pages; what others send meanwhile is counted as ours, which is little.
            let commands = self.shared.auditor.spent(self.tier).so_far() - self.spent;
            let copies = if self.tier == TierName::L3 { looked as f64 } else { commands as f64 / COMMANDS_PER_COPY };
            if self.tier != TierName::L3 {
                self.shared.pace(self.tier).walked.fetch_add(commands, Ordering::Relaxed);
            }
            // How much is allowed may change while we wait.
            let mut owed = copies;
            while owed > 0.0 && !self.shutdown.is_cancelled() {
                let (pause, left) = pause(owed, self.shared.share(self.tier).walk);
                owed = left;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.shutdown.cancelled() => {}
                }
            }
            self.spent = self.shared.auditor.spent(self.tier).so_far();
        })
    }
}

/// Nothing was seen of an entity yet, by group.
pub(crate) type Seen = BTreeMap<Arc<str>, BTreeSet<String>>;
