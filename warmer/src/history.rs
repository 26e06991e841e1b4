//! What has been asked for lately, from the log: for whoever wants to know how large a cache should be.

use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_schemas::views::ViewEvent;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;

use crate::forecast::log::Log;

/// Fewer views than this say nothing; order lines are taken then.
const VIEWS_MIN: u64 = 1_000;
const RECORD_WAIT_MAX: Duration = Duration::from_millis(500);

/// By what it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// View events, of at most a day.
    Views,
    /// Order lines, of at most a week.
    Lines,
}

/// Hands each product asked for to `each`, oldest first (of order lines about, since partitions are read side by side), with
/// the part of all that was read so far, 0 to 1. Views where there are enough of them, else order lines. `begin` hears which.
pub async fn asked(
    config: &Config,
    shutdown: &Shutdown,
    mut begin: impl FnMut(By),
    mut each: impl FnMut(&str, f64),
) -> Result<(), Failure> {
    let kafka = config.kafka()?;
    let away = |error: KafkaError| {
        Failure::unavailable(format!("can't read what was asked for at {}", kafka.brokers))
            .because(error)
            .remedy("check that Kafka runs there and that ingest has created the topics, or name a trace with --trace")
    };
    let mut views = Tail::open(kafka, "size-views", topics::VIEWS, Begin::Oldest).await.map_err(away)?;
    let (oldest, end) = (views.next_offset(), views.end());
    let count = u64::try_from(end - oldest).unwrap_or_default();
    if count >= VIEWS_MIN {
        begin(By::Views);
        while let Some(message) = views.next_before_end().await.map_err(away)? {
            if shutdown.is_cancelled() {
                break;
            }
            if let Some(event) = ViewEvent::from_json(message.payload().unwrap_or_default()) {
                each(&event.product, (message.offset() - oldest) as f64 / count as f64);
            }
        }
        return Ok(());
    }
    begin(By::Lines);
    let registry = LiveRegistry::follow(&Follower::start(kafka, shutdown.clone()));
    let mut log = Log::open(kafka, "size-sales", config.partitions, Vec::new(), registry).await.map_err(away)?;
    let of = log.left().max(1) as f64;
    while !shutdown.is_cancelled() && !log.caught_up() {
        let Ok(record) = tokio::time::timeout(RECORD_WAIT_MAX, log.recv()).await else { continue };
        if let Some(line) = log.line(record.map_err(away)?).await {
            each(&line.product, 1.0 - log.left() as f64 / of);
        }
    }
    Ok(())
}
