//! The hot set: the products with the greatest scores that are not out of date. Pure.

use std::collections::{HashMap, HashSet};

use lockstep_schemas::scores::Score;

use crate::refused::Refusal;

/// Members of the hot set, where the policy names no number.
pub(crate) const HOT_SET_DEFAULT: usize = 1_000;
/// No product's id is longer, in bytes.
const PRODUCT_BYTES_MAX: usize = 256;

/// The newest score of each product.
pub(crate) struct Scores {
    by_product: HashMap<String, Known>,
    newest: i64,
    /// Scores this much older than the newest, in microseconds, don't count.
    age_max: i64,
}

struct Known {
    score: f64,
    made_at: i64,
    offset: i64,
}

impl Scores {
    /// Nothing yet.
    pub fn new(age_max: i64) -> Self {
        Scores { by_product: HashMap::new(), newest: 0, age_max }
    }

    /// Takes a score in, written at `written_at` by the broker's record, unless a newer one is known.
    pub fn take(&mut self, score: Score, offset: i64, written_at: i64) -> Result<(), Refusal> {
        if !score.score.is_finite() || score.score < 0.0 {
            return Err(Refusal::Score);
        }
        if score.product.is_empty() || score.product.len() > PRODUCT_BYTES_MAX {
            return Err(Refusal::Product);
        }
        if score.made_at > written_at.saturating_add(self.age_max) {
            return Err(Refusal::Future);
        }
        if score.made_at < self.newest.max(written_at).saturating_sub(self.age_max) {
            return Err(Refusal::Old);
        }
        self.newest = self.newest.max(score.made_at);
        let known = self.by_product.entry(score.product).or_insert(Known { score: 0.0, made_at: i64::MIN, offset });
        if score.made_at >= known.made_at {
            *known = Known { score: score.score, made_at: score.made_at, offset };
        }
        Ok(())
    }

    /// The `limit` hottest with their scores, hottest first, without those in `apart`; what is out of date is forgotten.
    pub fn hottest(&mut self, limit: usize, apart: &HashSet<String>) -> Vec<(String, f64)> {
        let oldest = self.newest.saturating_sub(self.age_max);
        self.by_product.retain(|_, known| known.made_at >= oldest);
        let wanted = self.by_product.iter().filter(|(product, _)| !apart.contains(*product));
        let mut ranked: Vec<(&String, f64)> = wanted.map(|(product, known)| (product, known.score)).collect();
        let order = |a: &(&String, f64), b: &(&String, f64)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if limit < ranked.len() {
            ranked.select_nth_unstable_by(limit, order);
            ranked.truncate(limit);
        }
        ranked.sort_unstable_by(order);
        ranked.into_iter().map(|(product, score)| (product.clone(), score)).collect()
    }

    /// Where a product's score came from.
    pub fn offset(&self, product: &str) -> i64 {
        self.by_product.get(product).map_or(-1, |known| known.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(product: &str, score: f64, made_at: i64) -> Score {
        Score { product: product.to_owned(), hour: 0, score, model: String::new(), made_at }
    }

    #[test]
    fn the_hottest_that_are_up_to_date() {
        let mut scores = Scores::new(5);
        for one in
            [score("old", 9.0, 5), score("a", 1.0, 10), score("b", 3.0, 10), score("c", 2.0, 10), score("b", 0.5, 9)]
        {
            let made_at = one.made_at;
            assert_eq!(scores.take(one, made_at, made_at), Ok(()));
        }
        let none = HashSet::new();
        let hottest = |scores: &mut Scores, limit, apart: &HashSet<String>| -> Vec<String> {
            scores.hottest(limit, apart).into_iter().map(|(product, _)| product).collect()
        };
        assert_eq!(hottest(&mut scores, 2, &none), ["old", "b"]);
        assert_eq!(scores.take(score("b", 0.1, 11), 11, 11), Ok(()));
        assert_eq!(hottest(&mut scores, 9, &none), ["c", "a", "b"]);
        assert_eq!(
            hottest(&mut scores, 2, &HashSet::from(["c".to_owned()])),
            ["a", "b"],
            "the next one takes the place"
        );
        assert_eq!((scores.offset("b"), scores.offset("old")), (11, -1));
    }

    #[test]
    fn what_can_not_be_used_changes_nothing() {
        let mut scores = Scores::new(5);
        assert_eq!(scores.take(score("a", 1.0, 100), 0, 101), Ok(()));
        for (one, written_at, why) in [
            (score("b", f64::NAN, 100), 100, Refusal::Score),
            (score("b", f64::INFINITY, 100), 100, Refusal::Score),
            (score("b", -0.5, 100), 100, Refusal::Score),
            (score("", 1.0, 100), 100, Refusal::Product),
            (score(&"x".repeat(257), 1.0, 100), 100, Refusal::Product),
            (score("b", 1.0, 94), 94, Refusal::Old),
            (score("b", 1.0, 101), 107, Refusal::Old),
            (score("b", 1.0, i64::MAX), 100, Refusal::Future),
            (score("b", 1.0, i64::MIN), 100, Refusal::Old),
        ] {
            assert_eq!(scores.take(one.clone(), 0, written_at), Err(why), "{one:?}");
        }
        assert_eq!(scores.hottest(9, &HashSet::new()), [("a".to_owned(), 1.0)]);
    }
}
