//! Who streams from our slot.

use crate::database::{Database, DatabaseError, literal};

/// The process of the server that holds our slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The server's process.
    pub pid: i32,
    /// Whether it serves a connection of our own: our user, by the name that ingest goes by.
    pub is_ours: bool,
    /// The time in its client's last sign of life, by the client's clock: only that it changes means something. `None` where
    /// the server does not tell us.
    pub heard: Option<String>,
}

/// Who holds the slot, where somebody does.
pub async fn find(database: &Database, slot: &str, application: &str) -> Result<Option<Holder>, DatabaseError> {
    let sql = format!(
        "SELECT slot.active_pid::text, coalesce(client.application_name = {} AND client.usename = current_user, false)::text, \
         coalesce(client.reply_time, client.backend_start)::text \
         FROM pg_replication_slots slot LEFT JOIN pg_stat_replication client ON client.pid = slot.active_pid \
         WHERE slot.slot_name = {} AND slot.active_pid IS NOT NULL",
        literal(application),
        literal(slot)
    );
    let rows = database.texts(sql).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |at: usize| row.get(at).and_then(Option::as_deref);
    let pid = text(0).and_then(|text| text.parse().ok());
    let pid =
        pid.ok_or(DatabaseError::Answer { expected: "a process", answer: text(0).unwrap_or("null").to_owned() })?;
    Ok(Some(Holder { pid, is_ours: text(1) == Some("true"), heard: text(2).map(str::to_owned) }))
}

/// How many clients go by a name.
pub async fn clients(database: &Database, application: &str) -> Result<usize, DatabaseError> {
    let sql = format!("SELECT count(*)::text FROM pg_stat_activity WHERE application_name = {}", literal(application));
    let rows = database.texts(sql).await?;
    Ok(rows.first().and_then(|row| row[0].as_deref()?.parse().ok()).unwrap_or(0))
}

/// Ends the server's process that holds the slot, if it still does.
pub async fn end(database: &Database, slot: &str, pid: i32) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = {} AND active_pid = {pid}",
        literal(slot)
    );
    database.texts(sql).await.map(drop)
}
