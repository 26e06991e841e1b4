//! Control events: what concerns a whole group, broadcast to each of its partitions.

use serde::{Deserialize, Serialize};

use crate::position::{Position, PositionError};
use crate::shown::JsonFault;

/// What happened to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlKind {
    /// All rows of a table are gone.
    Truncate,
    /// A table has other columns than before.
    Relation,
    /// Another history of the database begins.
    Epoch,
    /// A row's change could not be published: its key can't be told.
    Lost,
}

impl ControlKind {
    /// The header's value.
    pub fn name(self) -> &'static str {
        match self {
            ControlKind::Truncate => "truncate",
            ControlKind::Relation => "relation",
            ControlKind::Epoch => "epoch",
            ControlKind::Lost => "lost",
        }
    }
}

/// A control event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What happened.
    pub kind: ControlKind,
    /// Where it stands in the database's history.
    pub position: Position,
    /// The transaction, for the gate; 0 where there is none.
    pub xid: u32,
    /// `schema.table`, of a truncate or a relation.
    pub table: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: ControlKind,
    position: String,
    xid: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    table: Option<String>,
}

impl Control {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let wire =
            Wire { kind: self.kind, position: self.position.to_string(), xid: self.xid, table: self.table.clone() };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// From the record's value.
    pub fn from_json(value: &[u8]) -> Result<Self, WireError> {
        let wire: Wire = serde_json::from_slice(value)?;
        Ok(Control { kind: wire.kind, position: wire.position.parse()?, xid: wire.xid, table: wire.table })
    }
}

impl From<serde_json::Error> for WireError {
    fn from(error: serde_json::Error) -> Self {
        WireError::Json(error.into())
    }
}

/// A record of ours that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not the JSON that it should be.
    #[error("not a record of this topic: {0}")]
    Json(JsonFault),
    /// A position that is none.
    #[error(transparent)]
    Position(#[from] PositionError),
}
