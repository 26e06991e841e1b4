//! Progress: how far the log is complete, so that idle, behind and stalled differ.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::WireError;
use crate::position::Position;

/// "Complete up to `position` at the server's time `at`; for each partition, that is before offset `next`."
/// A lane that has consumed up to its offset may move to the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything before it has been published.
    pub position: Position,
    /// The server's time, microseconds since 1970.
    pub at: i64,
    /// Of each group, the next offset of each partition.
    pub next: BTreeMap<String, Vec<i64>>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    position: String,
    at: i64,
    next: BTreeMap<String, Vec<i64>>,
}

impl Progress {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire { position: self.position.to_string(), at: self.at, next: self.next.clone() };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// From the record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, WireError> {
        let wire: Wire = serde_json::from_slice(value)?;
        Ok(Progress { position: wire.position.parse()?, at: wire.at, next: wire.next })
    }

    /// The next offset of one partition.
    pub fn next_of(&self, group: &str, partition: i32) -> Option<i64> {
        self.next.get(group)?.get(usize::try_from(partition).ok()?).copied()
    }
}
