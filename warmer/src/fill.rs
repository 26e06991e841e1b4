//! One entry after another, at the pace that the policy and the database allow: by the same reads, leases and fills as any
//! reader's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_schemas::entry::{Fields, Load, Loading};
use lockstep_schemas::policy::{TierName, View, Warming};
use lockstep_tiers::{Answer, AnsweredBy, Kept, Tiers};
use tokio::time::Instant;

use crate::demand::hours::Phase;
use crate::pace::{Pace, Verdict};

/// Where the policy sets no bound: a tier that is further behind has other things to do.
const BEHIND_MAX: Duration = Duration::from_secs(30);
/// After trouble, nothing is asked for so long.
const HALT: Duration = Duration::from_secs(5);
/// How much of a late start is made up for.
const BURST: Duration = Duration::from_millis(20);
/// An entry that leaves is dropped by the rule for entries beyond their age.
const ANY_AGE: Duration = Duration::from_millis(1);

/// What became of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// It was there, and holds so many bytes.
    There(u64),
    /// It was missing.
    Missing(u64),
    /// It was missing, and is not there by this: another reader fills it, or the tier refused it.
    NotKept,
    /// There is no such thing to be filled with.
    Absent,
    /// The tier did not answer; a reader will fill it.
    Failed,
}

/// Why nothing more is to be done for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halted {
    /// A tier is further behind than its bound.
    Behind,
    /// A tier did not answer, or is of another history than the database: nothing was filled.
    Tier,
    /// The database is slow, or failed.
    Database,
}

impl Halted {
    /// As operators read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Halted::Behind => "tier_behind",
            Halted::Tier => "tier_failed",
            Halted::Database => "database_slow",
        }
    }
}

/// The hot view, at a pace.
pub(crate) struct Filler {
    tiers: Tiers,
    timed: Arc<Timed>,
    view: Arc<View>,
    beneath: Arc<View>,
    pace: Pace,
    next: Instant,
    /// Loads since they were last taken.
    pub loads: Vec<Duration>,
}

impl Filler {
    pub fn new(mut tiers: Tiers, view: Arc<View>, beneath: Arc<View>, warming: &Warming) -> Self {
        let timed = Arc::new(Timed { inner: Arc::clone(&tiers.loader), last: Mutex::default() });
        tiers.loader = timed.clone();
        Filler { tiers, timed, view, beneath, pace: Pace::new(warming), next: Instant::now(), loads: Vec::new() }
    }

    /// Where the shop stands.
    pub fn phase(&mut self, phase: Phase) {
        self.pace.phase(phase);
    }

    /// Entries a second, as they are allowed now.
    pub fn rate(&self) -> f64 {
        self.pace.rate()
    }

    /// Waits for its turn; where that comes only after `until`, not at all, and says no.
    pub async fn turn(&mut self, until: Instant) -> bool {
        if self.next > until {
            return false;
        }
        tokio::time::sleep_until(self.next).await;
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(BURST).unwrap_or(now)) + self.pace.between();
        now < until
    }

    /// Looks at an entry, and fills it where it is missing. It needs a turn.
    pub async fn fill(&mut self, product: &str) -> (Filled, Option<Halted>) {
        let answer = self.tiers.get_through(&self.view, &self.beneath, product).await;
        let load = self.timed.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        let verdict = match (load, &answer) {
            (Some(took), Ok(_)) => {
                self.loads.push(took);
                self.next = self.next.max(Instant::now() + self.pace.rest_after(took));
                self.pace.loaded(took)
            }
            (_, Err(_)) => self.pace.failed(),
            (None, Ok(_)) => Verdict::GoOn,
        };
        let bound = self.view.staleness.or(self.beneath.staleness).map_or(BEHIND_MAX, |staleness| staleness.bound);
        let halted = trouble(verdict, answer.as_ref().ok(), now_micros(), bound);
        let filled = match answer {
            Err(error) => {
                tracing::debug!(key = %self.view.key.key(product), %error, "a hot product was not filled; a reader will");
                Filled::Failed
            }
            Ok(answer) => match (answer.fields, answer.by) {
                (None, _) => Filled::Absent,
                (Some(fields), AnsweredBy::Tier(TierName::L1)) => Filled::There(bytes(&fields)),
                (Some(fields), _) => match answer.kept {
                    Kept::Yes => Filled::Missing(bytes(&fields)),
                    // With the tiers in trouble it is tried again as soon as warming goes on.
                    Kept::No if halted.is_none() => Filled::NotKept,
                    Kept::No | Kept::Away => Filled::Failed,
                },
            },
        };
        if halted.is_some() {
            self.next = Instant::now() + HALT;
        }
        (filled, halted)
    }

    /// Removes the entry of a product that has left the set, as if it were beyond its age. (The lease that comes with it is
    /// left to run out: until then readers of what is not hot any more go to L2, where they go anyway.) It needs a turn.
    pub async fn let_go(&mut self, product: &str) {
        let l1 = &self.tiers.l1;
        let (place, key) = (l1.layout().place(&self.view.group, product), self.view.key.key(product));
        if let Err(error) = l1.read_within(&place, &key, None, Some(ANY_AGE)).await {
            tracing::debug!(%error, "an entry was not let go; its time will end");
        }
    }
}

/// Why nothing more is to be done for a while, if so. `answer` is `None` where the database gave none; one of the database that no
/// tier could keep is the tiers' trouble, however quick.
fn trouble(verdict: Verdict, answer: Option<&Answer>, now: i64, bound: Duration) -> Option<Halted> {
    let Some(Answer { by, mark, kept, .. }) = answer else { return Some(Halted::Database) };
    match mark {
        None if *by == AnsweredBy::Database => Some(Halted::Tier),
        _ if *kept == Kept::Away => Some(Halted::Tier),
        _ if verdict == Verdict::Halt => Some(Halted::Database),
        Some(mark) if is_behind(mark.at, now, bound) => Some(Halted::Behind),
        _ => None,
    }
}

fn is_behind(at: i64, now: i64, bound: Duration) -> bool {
    at > 0 && now.saturating_sub(at) > i64::try_from(bound.as_micros()).unwrap_or(i64::MAX)
}

fn bytes(fields: &Fields) -> u64 {
    fields.iter().map(|(name, text)| (name.len() + text.len()) as u64).sum()
}

/// Times the loads of whom it stands before. Nobody else loads through it.
struct Timed {
    inner: Arc<dyn Load>,
    last: Mutex<Option<Duration>>,
}

impl Load for Timed {
    fn load<'a>(&'a self, view: &'a View, entities: &'a [String]) -> Loading<'a> {
        Box::pin(async move {
            let began = Instant::now();
            let loaded = self.inner.load(view, entities).await;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(began.elapsed());
            loaded
        })
    }
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::position::Position;
    use lockstep_tiers::Mark;

    use super::*;

    #[test]
    fn each_trouble_has_its_own_reason() {
        let mark = |at| Mark { at, position: Position::LEAST, timeline: String::new(), l3_begun: None };
        let kept_in = |kept| move |by, mark| Answer { by, asked: Vec::new(), fields: None, mark, kept };
        let (answer, without_l1) = (kept_in(Kept::Yes), kept_in(Kept::Away));
        let (l1, bound) = (AnsweredBy::Tier(TierName::L1), Duration::from_secs(5));
        let late = 1 + 6_000_000;
        for (verdict, answer, now, expected) in [
            (Verdict::Halt, None, 1, Some(Halted::Database)),
            (Verdict::GoOn, Some(answer(AnsweredBy::Database, None)), 1, Some(Halted::Tier)),
            (Verdict::GoOn, Some(answer(AnsweredBy::Database, Some(mark(1)))), 1, None),
            (Verdict::Halt, Some(answer(AnsweredBy::Database, Some(mark(1)))), late, Some(Halted::Database)),
            (Verdict::GoOn, Some(without_l1(AnsweredBy::Tier(TierName::L2), Some(mark(1)))), 1, Some(Halted::Tier)),
            (Verdict::Slower, Some(answer(l1, Some(mark(1)))), 1, None),
            (Verdict::GoOn, Some(answer(l1, Some(mark(1)))), late, Some(Halted::Behind)),
        ] {
            assert_eq!(trouble(verdict, answer.as_ref(), now, bound), expected, "{verdict:?} {answer:?} {now}");
        }
    }

    #[test]
    fn a_tier_is_behind_by_its_own_time() {
        let bound = Duration::from_secs(5);
        for (at, now, expected) in [(1, 5_000_001, false), (1, 5_000_002, true), (0, i64::MAX, false), (9, 1, false)] {
            assert_eq!(is_behind(at, now, bound), expected, "{at} {now}");
        }
    }
}
