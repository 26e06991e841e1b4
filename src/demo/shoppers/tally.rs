//! What the shoppers saw, counted.

use crate::demo::shoppers::counts::Counts;
use reqwest::header::HeaderMap;
use std::sync::Mutex;

/// What one read was.
#[derive(Debug, PartialEq, Eq)]
pub enum Sight {
    /// Answered by the edge itself.
    Hit,
    /// Answered by the gateway.
    Miss {
        /// The tier that answered: `l1`, `l2` or `database`.
        tier: String,
        /// Whether L1 was asked, whether or not it answered.
        asked_l1: bool,
        /// Whether L2 was asked.
        asked_l2: bool,
        /// How far that tier had come.
        position: Option<String>,
    },
    /// No answer, or one that is neither the page nor "no such product".
    Failed,
}

impl Sight {
    /// What the status and the headers of an answer say.
    pub fn of(status: u16, headers: &HeaderMap) -> Self {
        if !matches!(status, 200 | 404) {
            return Self::Failed;
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if text("x-cache") == Some("HIT") {
            return Self::Hit;
        }
        let asked =
            |tier: &str| text("lockstep-asked").is_some_and(|asked| asked.split(',').any(|one| one.trim() == tier));
        let tier = text("lockstep-tier").unwrap_or("unknown").to_owned();
        Self::Miss {
            asked_l1: asked("l1") || tier == "l1",
            asked_l2: asked("l2") || tier == "l2",
            position: text("lockstep-position").map(str::to_owned),
            tier,
        }
    }
}

/// The counts that all shoppers share, both halves of the time apart.
#[derive(Default)]
pub struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    halves: [Counts; 2],
    backwards: u64,
}

impl Tally {
    /// Counts one read.
    pub fn count(&self, sight: &Sight, second_half: bool) {
        self.lock().halves[usize::from(second_half)].count(sight);
    }

    /// Counts an answer older than one before.
    pub fn count_backwards(&self) {
        self.lock().backwards += 1;
    }

    /// Answers that were older than one before. Promise 2 says: none.
    pub fn backwards(&self) -> u64 {
        self.lock().backwards
    }

    /// Both halves together.
    pub fn total(&self) -> Counts {
        let [first, second] = self.lock().halves;
        first + second
    }

    /// From the middle of the asked time on, when everything is warm.
    pub fn second_half(&self) -> Counts {
        self.lock().halves[1]
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter()
            .filter_map(|(name, value)| Some((reqwest::header::HeaderName::from_static(name), value.parse().ok()?)))
            .collect()
    }

    #[test]
    fn a_sight_is_what_the_headers_say() {
        let miss =
            |tier: &str, asked_l1| Sight::Miss { tier: tier.to_owned(), asked_l1, asked_l2: true, position: None };
        let check =
            |status, of: &[(&'static str, &str)], expected| assert_eq!(Sight::of(status, &headers(of)), expected);
        check(200, &[("x-cache", "HIT"), ("lockstep-tier", "l2")], Sight::Hit);
        check(404, &[("x-cache", "MISS"), ("lockstep-tier", "l2"), ("lockstep-asked", "l1, l2")], miss("l2", true));
        check(
            200,
            &[("x-cache", "MISS"), ("lockstep-tier", "database"), ("lockstep-asked", "l2")],
            miss("database", false),
        );
        check(503, &[("x-cache", "MISS")], Sight::Failed);
    }

    #[test]
    fn halves_are_counted_apart() {
        let tally = Tally::default();
        tally.count(&Sight::Hit, false);
        tally.count(&Sight::Failed, true);
        tally.count(&Sight::of(200, &headers(&[("lockstep-tier", "l1")])), true);
        let expected = Counts { reads: 2, edge_hits: 1, l1_asked: 1, l1_hits: 1, failed: 1, ..Counts::default() };
        assert_eq!(tally.total(), expected);
        assert_eq!(tally.second_half().reads, 1);
        assert_eq!(tally.total().since(&tally.second_half()).reads, 1);
    }
}
