//! The start: preflight; then a session, which is topics, slot, epoch and streaming, again and again until shutdown.

use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::retry::Pauses;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::topics;
use lockstep_source::{Database, preflight};

use crate::metrics::IngestMetrics;

mod checkpoint;
mod doubt;
mod history;
mod session;

pub(crate) use checkpoint::Checkpoint;
pub use checkpoint::check as slot_check;
use session::{Session, session};

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Streaming that lasted so long was a success; the pauses between attempts start anew.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Runs ingest until shutdown. Returns early only for what an operator must mend; whatever may pass is tried again.
pub async fn run(config: &Config, policy: &Policy, metrics: &Metrics, shutdown: Shutdown) -> Result<(), Failure> {
    let (database_config, kafka) = (config.database()?, config.kafka()?);
    let database = Database::connect(database_config, "lockstep-ingest").await?;
    preflight::insist(&database, database_config, policy).await?;
    topics::insist_on_partitions(kafka, policy, config.partitions).await?;
    let mut pauses = Pauses::default();
    let mut last_backend = None;
    let metrics = IngestMetrics::register(metrics);
    let surroundings =
        Session { config, database_config, kafka, policy, database: &database, metrics: &metrics, shutdown: &shutdown };
    while !shutdown.is_cancelled() {
        let began = std::time::Instant::now();
        // A broker that is away holds the end up for so long; what it has not acknowledged is published again.
        let late = async {
            shutdown.cancelled().await;
            tokio::time::sleep(DRAIN_WAIT_MAX).await;
        };
        let ended = tokio::select! {
            ended = session(&surroundings, &mut last_backend) => ended,
            () = late => break,
        };
        match ended {
            Ok(()) => break,
            Err(failure) if failure.kind == FailureKind::Configuration => return Err(failure),
            Err(error) => {
                metrics.interruptions.inc();
                tracing::warn!(error = %error, "ingest was interrupted; it goes on from what Kafka has acknowledged")
            }
        }
        if began.elapsed() > STEADY_AFTER {
            pauses = Pauses::default();
        }
        if !pauses.wait(&shutdown).await {
            break;
        }
    }
    database.close().await;
    Ok(())
}
