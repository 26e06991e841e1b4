//! Scores that can't be used: why, how many, and the words of them in the parked topic. Pure.

use std::collections::BTreeMap;

use lockstep_schemas::parked::Parked;
use lockstep_schemas::position::Position;
use lockstep_schemas::topics;

/// Why a score is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// The record is framed by a schema that is not that of scores.
    Schema,
    /// The record can't be read by the schema.
    Form,
    /// The score is negative, or no number.
    Score,
    /// The product's id is empty, or longer than any.
    Product,
    /// It was made long before the others, or long before it was written.
    Old,
    /// It was made in the future: all others would look old beside it.
    Future,
    /// The catalogue has no such product.
    Unknown,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Refusal::Schema => "schema",
            Refusal::Form => "form",
            Refusal::Score => "score",
            Refusal::Product => "product",
            Refusal::Old => "old",
            Refusal::Future => "future",
            Refusal::Unknown => "unknown_product",
        }
    }

    fn cause(self) -> &'static str {
        match self {
            Refusal::Schema => "the record's schema is not that of scores",
            Refusal::Form => "the record can't be read by its schema",
            Refusal::Score => "the score is negative or no number",
            Refusal::Product => "the product's id is empty or too long",
            Refusal::Old => "the score was made more than two intervals before the newest, or before it was written",
            Refusal::Future => "the score was made in the future",
            Refusal::Unknown => "the catalogue has no such product",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Refusal::Schema | Refusal::Form => {
                "write Avro by the schema lockstep.forecast.Score, framed with its id in lockstep.schemas"
            }
            Refusal::Score => "write expected lines: a number, 0 or more",
            Refusal::Product => "write the entity key of the group catalogue as it is",
            Refusal::Old => {
                "publish all scores of a forecast at once, with the time at which they were made, in microseconds"
            }
            Refusal::Future => "set the clock of the model's machine; made_at is in microseconds since 1970, UTC",
            Refusal::Unknown => "let the model leave products out that were deleted",
        }
    }
}

/// Refusals since they were last parked: a model that goes wrong does so a thousand times a round, and one word is enough.
#[derive(Default)]
pub(crate) struct Refused(BTreeMap<Refusal, (u64, i64)>);

impl Refused {
    /// Counts one, of the record at that offset.
    pub fn add(&mut self, why: Refusal, offset: i64) {
        self.0.entry(why).or_insert((0, offset)).0 += 1;
    }

    /// A word for each reason with how often it was one, and nothing counted any more.
    pub fn take(&mut self) -> Vec<(Parked<'static>, u64)> {
        let parked = |(why, (count, offset)): (Refusal, (u64, i64))| (word(why, count, offset), count);
        std::mem::take(&mut self.0).into_iter().map(parked).collect()
    }
}

fn word(why: Refusal, count: u64, offset: i64) -> Parked<'static> {
    Parked {
        by: "warmer",
        reason: why.reason(),
        cause: format!("{}: {count} records of {}, the first at offset {offset}", why.cause(), topics::SCORES),
        remedy: why.remedy(),
        table: topics::SCORES,
        position: Position::LEAST,
        ..Parked::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_each_reason() {
        let mut refused = Refused::default();
        for (why, offset) in [(Refusal::Old, 7), (Refusal::Schema, 8), (Refusal::Old, 9)] {
            refused.add(why, offset);
        }
        let words = refused.take();
        let said: Vec<(&str, bool)> = words
            .iter()
            .map(|(word, _)| (word.reason, word.cause.ends_with("2 records of forecast.scores, the first at offset 7")))
            .collect();
        assert_eq!(said, [("schema", false), ("old", true)]);
        assert!(refused.take().is_empty());
    }
}
