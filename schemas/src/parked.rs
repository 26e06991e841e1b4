//! What could not be done as it should: a word of it in a topic of its own, for who has to mend the cause; and what came of
//! it: a resolution, in the same topic.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::position::Position;
use crate::shown::JsonFault;

/// Things of which the newest are known; of more, the oldest are left out.
pub const THINGS_MAX: usize = 100_000;

/// One parked thing. No value of a row is in it but the entity, which is what its retry needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked<'a> {
    /// Which role.
    pub by: &'a str,
    /// One word for the kind of thing.
    pub reason: &'a str,
    /// What happened.
    pub cause: String,
    /// What to do about it.
    pub remedy: &'a str,
    /// `schema.table`.
    pub table: &'a str,
    /// Where it stands in the log.
    pub position: Position,
    /// Whose entries it concerns: group and entity.
    pub subject: Option<(&'a str, &'a str)>,
    /// The record that it is about.
    pub record: Option<Spot>,
}

/// A record's place in Kafka.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Spot {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

#[derive(Serialize)]
struct Wire<'a> {
    by: &'a str,
    reason: &'a str,
    cause: &'a str,
    remedy: &'a str,
    table: &'a str,
    position: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Spot>,
}

impl Parked<'_> {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let Parked { by, reason, cause, remedy, table, position, subject, record } = self;
        let (group, entity) = subject.unzip();
        let (position, record) = (position.to_string(), record.as_ref());
        let wire = Wire { by, reason, cause, remedy, table, position, group, entity, record };
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

/// A parked thing as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Word {
    /// Which role.
    pub by: String,
    /// One word for the kind of thing.
    pub reason: String,
    /// What happened.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
    /// `schema.table`.
    pub table: String,
    /// Where it stands in the log.
    pub position: String,
    /// The group of the entity.
    #[serde(default)]
    pub group: Option<String>,
    /// Whose entries it concerns.
    #[serde(default)]
    pub entity: Option<String>,
    /// The record that it is about.
    #[serde(default)]
    pub record: Option<Spot>,
}

/// What came of a parked thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its entries were dropped by the log, so that readers fill them anew.
    Retried,
    /// An operator says that nothing is to be done.
    Dropped,
}

impl Outcome {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Retried => "retried",
            Outcome::Dropped => "dropped",
        }
    }
}

/// The end of parked things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Their offsets in the parked topic.
    pub resolves: Vec<i64>,
    /// What came of them.
    pub outcome: Outcome,
    /// Why, in the operator's words.
    #[serde(default)]
    pub why: String,
    /// Where that stands in the database's history.
    pub position: String,
    /// When, microseconds since 1970.
    pub at: i64,
}

/// All that is parked, by its offset in the topic, and what came of it.
#[derive(Debug, Default)]
pub struct Things {
    open: BTreeMap<i64, Word>,
    resolved: BTreeMap<i64, Resolution>,
    by_record: HashMap<Spot, i64>,
    /// Records of the topic that can't be read.
    pub unreadable: u64,
    /// Things too old to be listed.
    pub left_out: u64,
}

impl Things {
    /// Takes the topic's next record in.
    pub fn take(&mut self, offset: i64, value: &[u8]) {
        match read(value) {
            Ok(Line::Word(word)) => self.word(offset, *word),
            Ok(Line::Resolution(resolution)) => {
                for resolved in &resolution.resolves {
                    self.resolved.entry(*resolved).or_insert_with(|| resolution.clone());
                }
            }
            Err(_) => self.unreadable += 1,
        }
        self.forget();
    }

    /// The same record may be parked more than once, after a restart: it is one thing.
    fn word(&mut self, offset: i64, word: Word) {
        if let Some(spot) = &word.record {
            if self.by_record.contains_key(spot) {
                return;
            }
            self.by_record.insert(spot.clone(), offset);
        }
        self.open.insert(offset, word);
    }

    fn forget(&mut self) {
        while self.open.len() > THINGS_MAX {
            let Some((offset, word)) = self.open.pop_first() else { return };
            self.left_out += 1;
            self.resolved.remove(&offset);
            if let Some(spot) = word.record {
                self.by_record.remove(&spot);
            }
        }
    }

    /// Every thing, with what came of it.
    pub fn all(&self) -> impl Iterator<Item = (i64, &Word, Option<&Resolution>)> {
        self.open.iter().map(|(offset, word)| (*offset, word, self.resolved.get(offset)))
    }
}

enum Line {
    Word(Box<Word>),
    Resolution(Resolution),
}

fn read(value: &[u8]) -> Result<Line, JsonFault> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(default)]
        resolves: Option<serde::de::IgnoredAny>,
    }
    let is_resolution = serde_json::from_slice::<Kind>(value)?.resolves.is_some();
    if is_resolution {
        return Ok(Line::Resolution(serde_json::from_slice(value)?));
    }
    Ok(Line::Word(Box::new(serde_json::from_slice(value)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(entity: &str, record: Option<Spot>) -> Vec<u8> {
        let subject = Some(("catalogue", entity));
        Parked { by: "ingest", reason: "row-too-large", subject, record, ..Parked::default() }.to_json()
    }

    fn resolved(resolves: &[i64], outcome: Outcome) -> Vec<u8> {
        let resolution =
            Resolution { resolves: resolves.to_vec(), outcome, why: String::new(), position: String::new(), at: 1 };
        serde_json::to_vec(&resolution).expect("JSON")
    }

    #[test]
    fn things_are_open_until_they_are_resolved() {
        let spot = |offset| Some(Spot { topic: "t".to_owned(), partition: 0, offset });
        let mut things = Things::default();
        for (offset, value) in [
            (0, parked("a", None)),
            (1, parked("b", spot(7))),
            (2, parked("b", spot(7))),
            (3, resolved(&[1], Outcome::Retried)),
            (4, resolved(&[1], Outcome::Dropped)),
            (5, b"nothing".to_vec()),
            (6, parked("c", spot(8))),
        ] {
            things.take(offset, &value);
        }
        let told: Vec<_> = things
            .all()
            .map(|(offset, word, came)| {
                (offset, word.entity.clone().unwrap_or_default(), came.map(|came| came.outcome))
            })
            .collect();
        let expected = [(0, "a", None), (1, "b", Some(Outcome::Retried)), (6, "c", None)];
        assert_eq!(
            told,
            expected.map(|(offset, entity, came)| (offset, entity.to_owned(), came)),
            "the first one counts"
        );
        assert_eq!(things.unreadable, 1);
    }
}
