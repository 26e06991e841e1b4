//! Which way to expect has covered most lately.

use super::bank::{FIRST, HALF_LIVES};
use super::hour::Hour;
use super::terms::TERMS;

/// How well a way did counts half as much a week later: the time in which a shop's habits come round once.
const HALF_LIFE: f64 = 168.0;
/// Ways that are judged: each half-life, then each term on top of the one that was best.
pub const WAYS: usize = HALF_LIVES.len() + TERMS.len();

/// A way to expect: a half-life, by its place, and perhaps a term on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its place in [`HALF_LIVES`].
    pub half_life: usize,
    /// Its place in [`TERMS`].
    pub term: Option<usize>,
}

impl Way {
    /// Its name.
    pub fn name(self) -> String {
        let half_life = HALF_LIVES[self.half_life];
        self.term.map_or_else(|| format!("ewma-{half_life}h"), |at| format!("ewma-{half_life}h+{}", TERMS[at].name()))
    }
}

/// Discounted lines that each way covered.
#[derive(Clone, Debug, PartialEq)]
pub struct Chooser {
    covered: [f64; WAYS],
    at: Hour,
}

impl Default for Chooser {
    fn default() -> Self {
        Chooser { covered: [0.0; WAYS], at: Hour::EARLIEST }
    }
}

impl Chooser {
    /// The half-life that covered most; a week before anything is known.
    pub fn leader(&self) -> usize {
        let mut leader = FIRST;
        for at in 0..HALF_LIVES.len() {
            if self.covered[at] > self.covered[leader] {
                leader = at;
            }
        }
        leader
    }

    /// The best way: the leader, or a term on top of it that did better than it.
    pub fn chosen(&self) -> Way {
        let half_life = self.leader();
        let (mut term, mut best) = (None, self.covered[half_life]);
        for at in 0..TERMS.len() {
            if self.covered[HALF_LIVES.len() + at] > best {
                (term, best) = (Some(at), self.covered[HALF_LIVES.len() + at]);
            }
        }
        Way { half_life, term }
    }

    /// The ways to judge next: every half-life, every term on the leader.
    pub fn ways(&self) -> [Way; WAYS] {
        let half_life = self.leader();
        std::array::from_fn(|at| match at.checked_sub(HALF_LIVES.len()) {
            None => Way { half_life: at, term: None },
            term => Way { half_life, term },
        })
    }

    /// Takes in how many of an hour's lines each way covered.
    pub fn judge(&mut self, hour: Hour, covered: &[u64; WAYS]) {
        let age = hour.since(self.at).max(0) as f64;
        let keep = (-age / HALF_LIFE).exp2();
        for (sum, lines) in self.covered.iter_mut().zip(covered) {
            *sum = *sum * keep + *lines as f64;
        }
        self.at = self.at.max(hour);
    }

    /// What is to be kept: the hour of the newest judgement, and the sums.
    pub fn kept(&self) -> (Hour, &[f64; WAYS]) {
        (self.at, &self.covered)
    }

    /// Goes on from what was kept.
    pub fn restored(at: Hour, covered: [f64; WAYS]) -> Self {
        Chooser { covered, at }
    }
}
