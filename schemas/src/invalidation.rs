//! An invalidation that no change asks for: a repair, a purge by hand. It stands in the log of its entity's partition, with
//! a position and a transaction like a change, so that the partition's lane applies it in order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::control::WireError;
use crate::position::Position;

/// The value of the control header on such a record.
pub const HEADER: &str = "invalidate";

/// In the place of a view's name: all that its partition holds, of whatever entity. The floor rises.
pub const WHOLE_PARTITION: &str = "*";

/// Whose entries are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The entity.
    pub entity: String,
    /// Texts of other columns, as far as they are known: for keys that are made of more than the entity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub columns: BTreeMap<String, String>,
}

impl Subject {
    /// An entity of which nothing else is known.
    pub fn entity(entity: &str) -> Self {
        Subject { entity: entity.to_owned(), columns: BTreeMap::new() }
    }

    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        let columns = self.columns.iter().map(|(name, text)| name.len() + text.len());
        self.entity.len() + columns.sum::<usize>()
    }
}

/// An invalidation as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation {
    /// Where it stands in the database's history.
    pub position: Position,
    /// The transaction, for the gate.
    pub xid: u32,
    /// Its commit time, microseconds since 1970.
    pub committed_at: i64,
    /// Whose entries.
    pub subject: Subject,
    /// Only those of these views; of all where it is empty.
    pub views: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: String,
    position: String,
    xid: u32,
    committed_at: i64,
    #[serde(flatten)]
    subject: FlatSubject,
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    views: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
struct FlatSubject {
    entity: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    columns: BTreeMap<String, String>,
}

impl Invalidation {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let Invalidation { position, xid, committed_at, subject, views } = self.clone();
        let subject = FlatSubject { entity: subject.entity, columns: subject.columns };
        let wire = Wire { kind: HEADER.to_owned(), position: position.to_string(), xid, committed_at, subject, views };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// From the record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, WireError> {
        let Wire { position, xid, committed_at, subject, views, .. } = serde_json::from_slice(value)?;
        let subject = Subject { entity: subject.entity, columns: subject.columns };
        Ok(Invalidation { position: position.parse()?, xid, committed_at, subject, views })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Lsn;

    #[test]
    fn invalidations_come_back() {
        let columns = BTreeMap::from([("category".to_owned(), "bowls".to_owned())]);
        for (subject, views) in [
            (Subject::entity("7"), BTreeSet::new()),
            (Subject { entity: "a:b".to_owned(), columns }, BTreeSet::from(["shelf".to_owned()])),
        ] {
            let position = Position { epoch: 2, lsn: Lsn(77), ordinal: 3 };
            let one = Invalidation { position, xid: 9, committed_at: 1_000, subject, views };
            assert_eq!(Invalidation::from_json(&one.to_json()).expect("ours"), one);
        }
        assert!(
            Invalidation::from_json(br#"{"kind":"invalidate","position":"x","xid":1,"committed_at":1,"entity":"7"}"#)
                .is_err()
        );
        assert!(Invalidation::from_json(b"{}").is_err());
    }
}
