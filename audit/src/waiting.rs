//! Deferred columns, judged by the last pass: a copy may be old in them for as long as the view lets them wait, and no longer.
//! A difference that stays, beside a row that rests, for twice that time was passed over. Pure, and of fixed size.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// Copies that are remembered at most. Of more, none is told before others have come right.
const COPIES_MAX: usize = 10_000;
/// A walk comes by again within it.
const FORGET_AFTER: Duration = Duration::from_secs(2 * 3_600);
/// What a pass may take besides: the gate, and the way to the tier.
const SLACK: Duration = Duration::from_secs(5);

/// Copies that were old in deferred columns when they were seen last, and no wonder.
#[derive(Default)]
pub(crate) struct Waiting {
    copies: HashMap<(String, String), Since>,
    hasher: RandomState,
}

struct Since {
    /// Of the row's version and of how the copy differs: values are not kept.
    state: u64,
    first: Instant,
    wait_max: Duration,
}

impl Waiting {
    /// Takes in that a copy in a place differs so from a version of its row; whether it has done so for too long. `wait_max` is
    /// how long the columns may wait.
    pub fn is_overdue(
        &mut self,
        of: (&str, &str),
        version: &str,
        differs: &str,
        wait_max: Duration,
        now: Instant,
    ) -> bool {
        let (of, state) = ((of.0.to_owned(), of.1.to_owned()), self.hasher.hash_one((version, differs)));
        if let Some(since) = self.copies.get(&of)
            && since.state == state
        {
            return now.duration_since(since.first) > wait_max * 2 + SLACK;
        }
        if self.copies.len() >= COPIES_MAX {
            self.copies.retain(|_, since| now.duration_since(since.first) < since.wait_max * 2 + FORGET_AFTER);
        }
        if self.copies.len() < COPIES_MAX || self.copies.contains_key(&of) {
            self.copies.insert(of, Since { state, first: now, wait_max });
        }
        false
    }

    /// A copy is right.
    pub fn is_right(&mut self, of: (&str, &str)) {
        if !self.copies.is_empty() {
            self.copies.remove(&(of.0.to_owned(), of.1.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_for_too_long_is_overdue() {
        let (mut waiting, began, wait_max) = (Waiting::default(), Instant::now(), Duration::from_secs(300));
        let mut look = |second, version: &str, differs: &str| {
            let now = began + Duration::from_secs(second);
            waiting.is_overdue(("l2", "product:all:1"), version, differs, wait_max, now)
        };
        assert!(!look(0, "v1", "old") && !look(600, "v1", "old"), "it may wait");
        assert!(look(606, "v1", "old"), "no pass has come");
        assert!(!look(607, "v2", "old") && !look(1_200, "v2", "old"), "the row has changed");
        assert!(!look(1_201, "v2", "older") && !look(1_800, "v2", "older"), "the copy has changed");
        waiting.is_right(("l2", "product:all:1"));
        let now = began + Duration::from_secs(9_000);
        assert!(!waiting.is_overdue(("l2", "product:all:1"), "v2", "older", wait_max, now));
    }
}
