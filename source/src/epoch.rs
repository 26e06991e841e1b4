//! The epoch: one unbroken history of the source. The table `lockstep.epoch` outlives every topic. Numbers are given out once
//! for all who follow the database; each follows it by a slot of its own, and knows its epochs by that.

use lockstep_schemas::position::Lsn;

use crate::database::{Database, DatabaseError, literal, required};

/// An epoch, and how to recognise its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Its number; 0: there is none yet.
    pub number: u16,
    /// The server's system identifier.
    pub system_identifier: String,
    /// The server's timeline, eight hexadecimal digits.
    pub timeline: String,
    /// The slot that reads this history.
    pub slot: String,
}

/// SQL for the number of the newest epoch of a slot; null where none has begun.
pub fn newest_of(slot: &str) -> String {
    format!("(SELECT max(epoch) FROM lockstep.epoch WHERE slot = {})", literal(slot))
}

/// The newest epoch of our slot.
pub async fn current(database: &Database) -> Result<Option<Epoch>, DatabaseError> {
    // `ORDER BY epoch` would mean the column of the result, a text: the ninth epoch would come after the tenth.
    let sql = format!(
        "SELECT e.epoch::text, e.system_identifier, e.timeline, e.slot FROM lockstep.epoch AS e \
         WHERE e.slot = {} ORDER BY e.epoch DESC LIMIT 1",
        literal(database.slot())
    );
    let rows = database.texts(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = number(row)?;
    let text = |at| required(row, at, "an epoch").map(str::to_owned);
    Ok(Some(Epoch { number, system_identifier: text(1)?, timeline: text(2)?, slot: text(3)? }))
}

/// The greatest number that was given out, to any slot; 0: none was.
pub async fn greatest(database: &Database) -> Result<u16, DatabaseError> {
    let rows = database.texts("SELECT coalesce(max(epoch), 0)::text FROM lockstep.epoch".to_owned()).await?;
    number(rows.first().map_or(&[][..], Vec::as_slice))
}

fn number(row: &[Option<String>]) -> Result<u16, DatabaseError> {
    let number = required(row, 0, "an epoch")?;
    number.parse().map_err(|_| DatabaseError::Answer { expected: "an epoch", answer: number.to_owned() })
}

/// Writes a new epoch down. Its number must be new: of two processes that begin the same epoch, one fails.
pub async fn begin(database: &Database, epoch: &Epoch, reason: &str) -> Result<(), DatabaseError> {
    let Epoch { number, system_identifier, timeline, slot } = epoch;
    let sql = format!(
        "INSERT INTO lockstep.epoch (epoch, system_identifier, timeline, slot, reason) VALUES ({number}, {}, {}, {}, {})",
        literal(system_identifier),
        literal(timeline),
        literal(slot),
        literal(reason)
    );
    database.execute(sql).await
}

/// Up to where the server's log is safe on its disk; what was streamed to anybody lies before it.
pub async fn log_end(database: &Database) -> Result<Lsn, DatabaseError> {
    let rows = database.texts("SELECT pg_current_wal_flush_lsn()::text".to_owned()).await?;
    let text = required(rows.first().map_or(&[][..], Vec::as_slice), 0, "an LSN")?;
    text.parse().map_err(|_| DatabaseError::Answer { expected: "an LSN", answer: text.to_owned() })
}

/// Identity of the server that answers now: system identifier and timeline.
pub async fn server_identity(database: &Database) -> Result<(String, String), DatabaseError> {
    let sql = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
               substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
    let rows = database.texts(sql.to_owned()).await?;
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    Ok((required(row, 0, "a system identifier")?.to_owned(), required(row, 1, "a timeline")?.to_owned()))
}
