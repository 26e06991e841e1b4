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
                "write Avro by the schema lockstep.forecast.Score, framed with its id in our topic of schemas"
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
pub(crate) struct Refused {
    by_reason: BTreeMap<Refusal, (u64, i64)>,
    /// Of records before this offset, an earlier life has parked a word.
    told: i64,
    /// All records before it have been taken in, or refused.
    next: i64,
}

impl Refused {
    /// An earlier life has said all that is to be said of records before this offset.
    pub fn told_before(&mut self, told: i64) {
        self.told = told;
    }

    /// The record at that offset was taken in, or refused.
    pub fn read(&mut self, offset: i64) {
        self.next = offset + 1;
    }

    /// Counts one, of the record at that offset; below 0 where no record is at hand.
    pub fn add(&mut self, why: Refusal, offset: i64) {
        if offset < 0 || offset >= self.told {
            self.by_reason.entry(why).or_insert((0, offset)).0 += 1;
        }
    }

    /// What is to be said for each reason, and nothing counted any more; and the offset before which there is nothing else to
    /// say.
    pub fn take(&mut self) -> (Vec<Word>, i64) {
        let word = |(why, (count, offset))| Word { why, count, offset };
        (std::mem::take(&mut self.by_reason).into_iter().map(word).collect(), self.next)
    }

    /// What was taken, and could not be said.
    pub fn give_back(&mut self, words: impl IntoIterator<Item = Word>) {
        for Word { why, count, offset } in words {
            let known = self.by_reason.entry(why).or_insert((0, offset));
            *known = (known.0 + count, known.1.min(offset));
        }
    }
}

/// That scores were refused for a reason: how many, and the first one's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    why: Refusal,
    pub count: u64,
    offset: i64,
}

impl Word {
    /// As it is parked.
    pub fn parked(&self) -> Parked<'static> {
        let Word { why, count, offset } = self;
        Parked {
            by: "warmer",
            reason: why.reason(),
            cause: format!(
                "{}: {count} records of {}, the first at offset {offset}",
                why.cause(),
                topics::SCORES.base_name()
            ),
            remedy: why.remedy(),
            table: topics::SCORES.base_name(),
            position: Position::LEAST,
            ..Parked::default()
        }
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
        refused.read(9);
        let (words, next) = refused.take();
        let said: Vec<(&str, bool)> = words
            .iter()
            .map(Word::parked)
            .map(|word| (word.reason, word.cause.ends_with("2 records of forecast.scores, the first at offset 7")))
            .collect();
        assert_eq!(said, [("schema", false), ("old", true)]);
        assert_eq!((refused.take(), next), ((Vec::new(), 10), 10));
    }

    #[test]
    fn what_could_not_be_said_is_said_later() {
        let mut refused = Refused::default();
        refused.add(Refusal::Old, 7);
        let words = refused.take().0;
        refused.add(Refusal::Old, 9);
        refused.give_back(words);
        assert_eq!(refused.take().0, [Word { why: Refusal::Old, count: 2, offset: 7 }]);
    }

    #[test]
    fn what_an_earlier_life_has_parked_is_not_said_again() {
        let mut refused = Refused::default();
        refused.told_before(8);
        for offset in [6, 7, 8] {
            refused.add(Refusal::Score, offset);
        }
        let words = refused.take().0;
        assert_eq!(words.iter().map(|word| (word.why.reason(), word.count)).collect::<Vec<_>>(), [("score", 1)]);
    }
}
