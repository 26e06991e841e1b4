//! Which transactions are under way.

use crate::database::{Database, DatabaseError, required};

/// Transactions that have ended, by their 64-bit ids (PostgreSQL's `pg_current_snapshot`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// All before this one have ended.
    pub start: u64,
    /// None from this one on has begun.
    pub end: u64,
}

/// As it is now.
pub async fn find(database: &Database) -> Result<Running, DatabaseError> {
    let sql = "SELECT pg_snapshot_xmin(s)::text, pg_snapshot_xmax(s)::text FROM pg_current_snapshot() AS s";
    let rows = database.texts(sql.to_owned()).await?;
    let row = rows.first().map(Vec::as_slice).unwrap_or_default();
    let id = |at| {
        let text = required(row, at, "a transaction's id")?;
        text.parse().map_err(|_| DatabaseError::Answer { expected: "a transaction's id", answer: text.to_owned() })
    };
    Ok(Running { start: id(0)?, end: id(1)? })
}
