//! Where the write-ahead log ends, and when that was.

use lockstep_schemas::position::Lsn;

use crate::database::{Database, DatabaseError, required};

/// The log's end, and the server's time in microseconds since 1970, taken before: what was committed by then lies before
/// that end.
pub async fn log_end(database: &Database) -> Result<(Lsn, i64), DatabaseError> {
    let sql = "SELECT pg_current_wal_insert_lsn()::text, \
               (extract(epoch FROM statement_timestamp()) * 1000000)::bigint::text";
    let rows = database.texts(sql.to_owned()).await?;
    let row = rows.first().map(Vec::as_slice).unwrap_or_default();
    let (lsn, at) = (required(row, 0, "an LSN")?, required(row, 1, "a time")?);
    let odd = |expected, answer: &str| DatabaseError::Answer { expected, answer: answer.to_owned() };
    Ok((lsn.parse().map_err(|_| odd("an LSN", lsn))?, at.parse().map_err(|_| odd("a time", at))?))
}
