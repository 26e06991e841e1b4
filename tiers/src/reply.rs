//! What the functions answer, checked once.

use lockstep_schemas::entry::Fields;
use lockstep_schemas::position::Position;
use redis::Value;

use crate::tier::{ABSENT, Applied, Claims, Filled, Found, HIGH, Hit, LOW, Lease, Mark, Read};
use crate::tier_error::TierError;

/// An answer's elements, taken one by one.
struct Answer {
    function: &'static str,
    texts: std::vec::IntoIter<String>,
}

impl Answer {
    fn of(function: &'static str, value: Value) -> Result<Self, TierError> {
        // Never the answer itself: it may hold an entry.
        let shown = |_| TierError::Answer { function, answer: "something other than a list of texts".to_owned() };
        let texts: Vec<String> = redis::from_redis_value(value).map_err(shown)?;
        Ok(Answer { function, texts: texts.into_iter() })
    }

    fn text(&mut self) -> Result<String, TierError> {
        let function = self.function;
        self.texts.next().ok_or_else(|| TierError::Answer { function, answer: "too little".to_owned() })
    }

    fn parsed<T: std::str::FromStr>(&mut self) -> Result<T, TierError> {
        let text = self.text()?;
        text.parse().map_err(|_| TierError::Answer { function: self.function, answer: text })
    }

    fn optional<T: std::str::FromStr>(&mut self) -> Result<Option<T>, TierError> {
        let text = self.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| TierError::Answer { function: self.function, answer: text })
    }

    fn other<T>(&self, answer: String) -> Result<T, TierError> {
        Err(TierError::Answer { function: self.function, answer })
    }
}

/// The answer to a read that offered this nonce.
pub fn read(value: Value, nonce: String) -> Result<Read, TierError> {
    let mut answer = Answer::of("read", value)?;
    let kind = answer.text()?;
    let (position, timeline, at) = (answer.parsed()?, answer.text()?, answer.parsed()?);
    let mark = Mark { position, timeline, at, l3_begun: answer.optional()? };
    match kind.as_str() {
        "busy" => Ok(Read::Busy(mark)),
        "lease" => Ok(Read::Lease(Lease { nonce, mark })),
        "hit" => hit(mark, answer).map(Read::Hit),
        _ => answer.other(kind),
    }
}

fn hit(mark: Mark, mut answer: Answer) -> Result<Hit, TierError> {
    let (mut low, mut high, mut negative) = (Position::LEAST, Position::GREATEST, false);
    let mut fields = Fields::new();
    while let Some(name) = answer.texts.next() {
        match name.as_str() {
            LOW => low = answer.parsed()?,
            HIGH => high = answer.parsed()?,
            ABSENT => negative = !answer.text()?.is_empty(),
            ours if ours.starts_with('_') => drop(answer.text()?),
            column => fields.push((column.into(), answer.text()?)),
        }
    }
    Ok(Hit { mark, low, high, fields: (!negative).then_some(fields) })
}

/// The answer to a call that claims so many entries.
pub fn claim(value: Value, count: usize) -> Result<Claims, TierError> {
    let mut answer = Answer::of("claim", value)?;
    let (position, timeline, bookmark, words) = (answer.parsed()?, answer.text()?, answer.text()?, answer.text()?);
    let found = match words.as_str() {
        "" => vec![Found::Claim; count],
        words => each("claim", count, words, |word| match word {
            "hit" => Some(Found::Hit),
            "busy" => Some(Found::Busy),
            "claim" => Some(Found::Claim),
            _ => None,
        })?,
    };
    Ok(Claims { position, timeline, bookmark, found })
}

/// The answer to the fills of so many entries.
pub fn fill(value: Value, count: usize) -> Result<Vec<Filled>, TierError> {
    let shown = |_| TierError::Answer { function: "fill", answer: "something other than a text".to_owned() };
    let words: String = redis::from_redis_value(value).map_err(shown)?;
    each("fill", count, &words, |word| match word {
        "ok" => Some(Filled::Ok),
        "void" => Some(Filled::Void),
        "floor" | "behind" | "timeline" => Some(Filled::Refused),
        _ => None,
    })
}

/// A text of so many words: one for each of what was asked for.
fn each<T>(
    function: &'static str,
    count: usize,
    words: &str,
    of: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, TierError> {
    let wrong = |answer: &str| TierError::Answer { function, answer: answer.to_owned() };
    let all: Vec<T> =
        words.split_ascii_whitespace().map(|word| of(word).ok_or_else(|| wrong(word))).collect::<Result<_, _>>()?;
    if all.len() == count { Ok(all) } else { Err(wrong(&format!("{} words instead of {count}", all.len()))) }
}

/// The answer to a batch.
pub fn apply(value: Value) -> Result<Applied, TierError> {
    let mut answer = Answer::of("apply", value)?;
    match answer.text()?.as_str() {
        "ok" => {
            let (refreshed, dropped) = (answer.parsed()?, answer.parsed()?);
            let mine = answer.texts.map(|text| text.parse().unwrap_or(usize::MAX)).collect();
            Ok(Applied::Ok { refreshed, dropped, mine })
        }
        "lost" => Ok(Applied::Lost { position: answer.parsed()?, offset: answer.optional()? }),
        other => answer.other(other.to_owned()),
    }
}

/// `own`: L3's position and offset, or the tier's own position where that is not as expected.
pub fn own(value: Value) -> Result<Result<(Position, i64), Position>, TierError> {
    let mut answer = Answer::of("own", value)?;
    match answer.text()?.as_str() {
        "ok" => Ok(Ok((answer.parsed()?, answer.parsed()?))),
        "lost" => Ok(Err(answer.parsed()?)),
        other => answer.other(other.to_owned()),
    }
}

/// The answer to a sweep: how many entries are gone.
pub fn sweep(value: Value) -> Result<u64, TierError> {
    redis::from_redis_value(value).map_err(|_| TierError::Answer { function: "sweep", answer: "no number".to_owned() })
}
