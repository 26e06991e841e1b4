//! Standing by: of two ingests one streams, and the other waits for the slot.

use std::time::{Duration, Instant};

use lockstep_process::config::DatabaseConfig;
use lockstep_process::{Failure, Shutdown};
use lockstep_source::Database;
use lockstep_source::preflight::{self, Holder};

use crate::metrics::IngestMetrics;
use crate::transport::{APPLICATION, SENDER_TIMEOUT};

/// What `pg_stat_activity` calls us while we wait; `status` counts those.
pub const STANDBY_APPLICATION: &str = "lockstep-ingest-standby";
/// How often the slot is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// A client tells the server once a second that it lives, and the server itself ends one that is silent for its time-out.
/// Where even that does not happen, a connection of ours that is silent for longer has nobody at its other end.
const SILENT_MAX: Duration = SENDER_TIMEOUT.saturating_add(Duration::from_secs(2));

/// Returns when nobody holds the slot, or at shutdown. `last_backend`: the server's process of our own last connection;
/// it can only be a leftover.
pub(crate) async fn wait_for_slot(
    config: &DatabaseConfig,
    database: &Database,
    metrics: &IngestMetrics,
    last_backend: Option<i32>,
    shutdown: &Shutdown,
) -> Result<(), Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    let look = async |database: &Database| preflight::holder(database, &config.slot, APPLICATION).await.map_err(away);
    let Some(holder) = look(database).await? else { return Ok(()) };
    if Some(holder.pid) == last_backend && holder.is_ours {
        metrics.stale_connections.inc();
        end(database, config, &holder, "it served our own last connection").await;
    }
    // A connection under another name, for all to see that we stand by.
    let ours = Database::connect(config, STANDBY_APPLICATION).await?;
    tracing::info!(slot = %config.slot, backend = holder.pid, "standing by: another ingest streams");
    let waited = async {
        let (mut known, mut since) = (holder, Instant::now());
        loop {
            let Some(holder) = look(&ours).await? else { return Ok(()) };
            if holder != known {
                (known, since) = (holder.clone(), Instant::now());
            }
            if holder.is_ours && holder.heard.is_some() && since.elapsed() > SILENT_MAX {
                metrics.stale_connections.inc();
                end(&ours, config, &holder, "its client is silent").await;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let waited = tokio::select! {
        waited = waited => waited,
        () = shutdown.cancelled() => Ok(()),
    };
    ours.close().await;
    waited
}

async fn end(database: &Database, config: &DatabaseConfig, holder: &Holder, why: &str) {
    tracing::warn!(slot = %config.slot, backend = holder.pid, why, "ending a stale replication connection of ours");
    if let Err(error) = preflight::end_backend(database, &config.slot, holder.pid).await {
        tracing::warn!(%error, backend = holder.pid, "it can't be ended; the server will do it after its own time-out");
    }
}
