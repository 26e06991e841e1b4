//! What is asked of ingest through the log.

use std::sync::Arc;

use lockstep_schemas::position::Lsn;
use lockstep_schemas::signal::Signal;
use sqlx::{Postgres, Transaction};

use crate::database::{Database, DatabaseError, literal, required, texts_on};

const INSERT_LSN: &str = "SELECT pg_current_wal_insert_lsn()::text";

/// Sends signals through the log, all in one transaction; returns an LSN past its commit.
pub async fn send_all(database: &Database, signals: &[Signal]) -> Result<Lsn, DatabaseError> {
    database.texts(format!("SELECT {}", messages(database.slot(), signals))).await?;
    insert_lsn(database).await
}

/// SQL for the messages that say it to the ingest of a slot.
pub(crate) fn messages(slot: &str, signals: &[Signal]) -> String {
    let slot = literal(slot);
    let message =
        |signal| format!("pg_logical_emit_message(true, {slot}, {})::text", literal(&Signal::to_json(signal)));
    signals.iter().map(message).collect::<Vec<_>>().join(", ")
}

/// Every commit so far ends at or before it.
pub async fn insert_lsn(database: &Database) -> Result<Lsn, DatabaseError> {
    lsn(&database.texts(INSERT_LSN.to_owned()).await?)
}

fn lsn(rows: &[Vec<Option<String>>]) -> Result<Lsn, DatabaseError> {
    let text = required(rows.first().map_or(&[][..], Vec::as_slice), 0, "an LSN")?;
    text.parse().map_err(|_| DatabaseError::Answer { expected: "an LSN", answer: text.to_owned() })
}

/// A turn at something of which only one may be under way. It ends with its transaction, whoever is killed meanwhile; until
/// it sends, that has neither an id nor a snapshot, and holds nothing up.
pub struct Turn {
    transaction: Transaction<'static, Postgres>,
    slot: Arc<str>,
}

impl Turn {
    /// Takes the turn of that number; `None`: somebody else has it.
    pub async fn take(database: &Database, number: i64) -> Result<Option<Turn>, DatabaseError> {
        let mut transaction = database.begin().await?;
        let sql = format!("SELECT pg_try_advisory_xact_lock({number})::text");
        let rows = texts_on(&mut transaction, sql).await?;
        let taken = required(rows.first().map_or(&[][..], Vec::as_slice), 0, "whether a lock was taken")? == "true";
        Ok(taken.then_some(Turn { transaction, slot: database.slot().into() }))
    }

    /// Whatever had this turn before has committed before it.
    pub async fn began_at(&mut self) -> Result<Lsn, DatabaseError> {
        lsn(&texts_on(&mut self.transaction, INSERT_LSN.to_owned()).await?)
    }

    /// Sends signals, and ends the turn with their commit. On an error they were sent all, or none.
    pub async fn send(mut self, signals: &[Signal]) -> Result<(), DatabaseError> {
        if !signals.is_empty() {
            texts_on(&mut self.transaction, format!("SELECT {}", messages(&self.slot, signals))).await?;
        }
        Ok(self.transaction.commit().await?)
    }
}
