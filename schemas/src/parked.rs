//! What could not be done as it should: a word of it, for who has to mend the cause.

use serde::Serialize;

use crate::position::Position;

/// One parked thing. No value of a row is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

#[derive(Serialize)]
struct Wire<'a> {
    by: &'a str,
    reason: &'a str,
    cause: &'a str,
    remedy: &'a str,
    table: &'a str,
    position: String,
}

impl Parked<'_> {
    /// The record's value.
    pub fn to_json(&self) -> Vec<u8> {
        let Parked { by, reason, cause, remedy, table, position } = self;
        let wire = Wire { by, reason, cause, remedy, table, position: position.to_string() };
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}
