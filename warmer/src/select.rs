//! The hot set: the products with the greatest scores that are not out of date. Pure.

use std::collections::HashMap;

use lockstep_schemas::scores::Score;

/// Members of the hot set, where the policy names no number.
pub(crate) const HOT_SET_DEFAULT: usize = 1_000;

/// The newest score of each product.
#[derive(Default)]
pub(crate) struct Scores {
    by_product: HashMap<String, (f64, i64)>,
    newest: i64,
}

impl Scores {
    /// Takes a score in, unless a newer one is known.
    pub fn take(&mut self, score: Score) {
        self.newest = self.newest.max(score.made_at);
        let known = self.by_product.entry(score.product).or_insert((0.0, i64::MIN));
        if score.made_at >= known.1 {
            *known = (score.score, score.made_at);
        }
    }

    /// The `limit` hottest, hottest first; scores more than `age_max` microseconds older than the newest don't count.
    pub fn hottest(&mut self, limit: usize, age_max: i64) -> Vec<String> {
        let oldest = self.newest.saturating_sub(age_max);
        self.by_product.retain(|_, (_, made_at)| *made_at >= oldest);
        let mut ranked: Vec<(&String, f64)> =
            self.by_product.iter().map(|(product, (score, _))| (product, *score)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        ranked.into_iter().take(limit).map(|(product, _)| product.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_that_are_up_to_date() {
        let score = |product: &str, score, made_at| Score {
            product: product.to_owned(),
            hour: 0,
            score,
            model: String::new(),
            made_at,
        };
        let mut scores = Scores::default();
        for one in
            [score("a", 1.0, 10), score("b", 3.0, 10), score("c", 2.0, 10), score("old", 9.0, 1), score("b", 0.5, 9)]
        {
            scores.take(one);
        }
        assert_eq!(scores.hottest(2, 5), ["b", "c"]);
        scores.take(score("b", 0.1, 11));
        assert_eq!(scores.hottest(9, 5), ["c", "a", "b"]);
    }
}
