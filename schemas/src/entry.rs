//! What an entry is made of, between the database that it is read from and the tier that it is written to.

use std::sync::Arc;

use crate::position::Position;

/// An entry's fields with their canonical texts; a null is a field that is not there.
pub type Fields = Vec<(Arc<str>, String)>;

/// One entity as the database has it, with the bounds of what the reading snapshot can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The entity.
    pub entity: String,
    /// Its fields; `None`: there is no such row.
    pub fields: Option<Fields>,
    /// It holds nothing beyond this (docs/protocol.md, "low and high").
    pub high: Position,
    /// The timeline of the server that was read, eight hexadecimal digits.
    pub timeline: String,
}
