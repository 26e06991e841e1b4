//! Reading alone: the log to an LSN, every row decoded, none published.

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::position::Lsn;
use lockstep_source::Database;
use lockstep_source::epoch::{self, Epoch};

use crate::pgoutput::{self, Message};
use crate::transport::{LogEvent, Transport};

/// Reads the configured slot until everything before `until` has passed, and counts the rows. Nothing is published and
/// nothing acknowledged, so the slot stays where it is: this is what a bench compares with other readers.
pub async fn count_rows(config: &DatabaseConfig, until: Lsn) -> Result<u64, Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    let database = Database::connect(config, "lockstep-bench").await?;
    let (system_identifier, timeline) = epoch::server_identity(&database).await.map_err(away)?;
    database.close().await;
    let epoch = Epoch { number: 0, system_identifier, timeline, slot: config.slot.clone() };
    let mut transport = Transport::connect(config, &epoch, Lsn(0)).await?;
    let mut rows = 0;
    loop {
        transport.fill().await?;
        while let Some(event) = transport.next()? {
            let reached = match event {
                LogEvent::Idle { end } => end,
                LogEvent::Data { message, .. } => match pgoutput::decode(message).map_err(Failure::internal)? {
                    Message::Insert { .. } | Message::Update { .. } | Message::Delete { .. } => {
                        rows += 1;
                        continue;
                    }
                    Message::Commit { end } => end,
                    _ => continue,
                },
            };
            if reached >= until {
                transport.close().await;
                return Ok(rows);
            }
        }
    }
}
