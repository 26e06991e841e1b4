//! How good the hot set is, as the warmer says it in `lockstep.grade` and `status` repeats it.

use serde::{Deserialize, Serialize};

/// Of what is expected to be asked for, so much is to be warm.
pub const COVERAGE_MIN: f64 = 0.8;
/// An hour in which less was asked for says too little.
pub const ASKED_MIN: u64 = 20;

/// A word of the warmer about itself. Shares are from 0 to 1, times in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// When it was said.
    pub at: i64,
    /// Members of the set now.
    pub members: u64,
    /// The start of the last hour that was graded; what follows is of it.
    pub hour: Option<i64>,
    /// `lines` or `views`: by what.
    pub by: Option<String>,
    /// How often something was asked for.
    pub asked: u64,
    /// The share of that of which the set, as it was before the hour began, had the product.
    pub coverage: Option<f64>,
    /// The share of the set that somebody asked for.
    pub precision: Option<f64>,
    /// The hit ratio of an LRU of the same size.
    pub lru_hit_ratio: Option<f64>,
    /// The coverage of the last 24 graded hours.
    pub coverage_of_day: Option<f64>,
    /// Bytes that the warmer has filled since it started, and of entries that nobody had asked for when they were let go.
    pub filled_bytes: u64,
    /// The second.
    pub wasted_bytes: u64,
    /// `calm`, `ahead` of busy hours, `busy`.
    pub phase: String,
    /// How fast it may go.
    pub entries_per_second: f64,
    /// Why it does nothing at the moment.
    pub halted: Option<String>,
}

/// How the set is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GradeState {
    /// It covers what it should.
    Good,
    /// It does not: an operator should look.
    Low,
    /// Too little was asked for to tell.
    Unknown,
}

impl Graded {
    /// How the set is doing.
    pub fn state(&self) -> GradeState {
        match self.coverage {
            Some(coverage) if self.asked >= ASKED_MIN && coverage < COVERAGE_MIN => GradeState::Low,
            Some(_) if self.asked >= ASKED_MIN => GradeState::Good,
            _ => GradeState::Unknown,
        }
    }

    /// Points of hit ratio above an LRU of the same size.
    pub fn gain(&self) -> Option<f64> {
        Some(self.coverage? - self.lru_hit_ratio?)
    }

    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's value.
    pub fn from_json(value: &[u8]) -> Option<Graded> {
        serde_json::from_slice(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_80_percent_is_low_where_enough_was_asked_for() {
        let check = |asked, coverage, expected| {
            let graded = Graded { asked, coverage, ..Graded::default() };
            assert_eq!(graded.state(), expected, "{asked} {coverage:?}");
            assert_eq!(Graded::from_json(&graded.to_json()), Some(graded));
        };
        check(20, Some(0.8), GradeState::Good);
        check(20, Some(0.799), GradeState::Low);
        check(19, Some(0.1), GradeState::Unknown);
        check(0, None, GradeState::Unknown);
    }
}
