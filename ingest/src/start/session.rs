//! A session: one connection's life, from the topics and the slot to the end of its stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::{Config, DatabaseConfig, KafkaConfig};
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::sole_writer::SoleWriter;
use lockstep_schemas::{hearing, registry, topics};
use lockstep_source::Database;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::sync::{Notify, mpsc};

use super::doubt::LogState;
use super::history::{History, begin, establish};
use super::{Checkpoint, checkpoint};
use crate::ledger::Ledger;
use crate::members::Members;
use crate::metrics::IngestMetrics;
use crate::progress::{ProgressKeeper, idle_interval};
use crate::publisher::Publisher;
use crate::records::Limits;
use crate::snapshot::{Reader, SnapshotKeeper};
use crate::standby;
use crate::stream::{Broker, StateTopics, Stream, StreamError};
use crate::tables::Tables;
use crate::transport::Transport;
use crate::watch;

const FLUSH_WAIT_MAX: Duration = Duration::from_secs(3);
const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
/// Whoever gives out the ids of schemas: one that was asleep between its look at the slot and its record could give out an
/// id that its successor has given to another schema.
const SCHEMA_WRITER: &str = "ingest-schemas";
/// An envelope above this is published without its values, whatever the topics allow.
const RECORD_BYTES_MAX: usize = 900_000;

/// What every connection needs.
pub(super) struct Session<'a> {
    pub config: &'a Config,
    pub database_config: &'a DatabaseConfig,
    pub kafka: &'a KafkaConfig,
    pub policy: &'a Policy,
    pub database: &'a Database,
    pub metrics: &'a IngestMetrics,
    pub shutdown: &'a Shutdown,
}

/// One connection's life. `last_backend`: the server's process of the one before.
pub(super) async fn session(session: &Session<'_>, last_backend: &mut Option<i32>) -> Result<(), Failure> {
    let Session { config, database_config, kafka, policy, database, metrics, shutdown } = *session;
    // Before anything is written anywhere: who stands by leaves no trace.
    standby::wait_for_slot(database_config, database, metrics, *last_backend, shutdown).await?;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let kafka_failed = |error: KafkaError| Failure::unavailable("Kafka").because(error);
    let made_anew = crate::topics::ensure(kafka, policy, config.partitions).await?;
    let batch_bytes_max = crate::topics::batch_bytes_max(kafka, policy).await;
    let (checkpoint, outdated) = checkpoint::read_all(kafka).await.map_err(kafka_failed)?;
    if let Some(checkpoint) = &checkpoint {
        checkpoint.insist_on(kafka, &database_config.slot)?;
    }
    let groups: Vec<String> = policy.groups.keys().map(ToString::to_string).collect();
    let ends = end_offsets(kafka, groups.clone(), config.partitions).await.map_err(kafka_failed)?;
    let schemas_gone = checkpoint.is_some() && registry::read(kafka).await.map_err(kafka_failed)?.is_empty();
    let log = LogState { made_anew, checkpoint, schemas_gone, ends };
    let history = establish(database, &database_config.slot, &log).await?;
    // The slot first: only who holds it writes.
    let mut transport = Transport::connect(database_config, &history.epoch, history.confirmed).await?;
    *last_backend = Some(transport.backend);
    if end_offsets(kafka, groups, config.partitions).await.map_err(kafka_failed)? != log.ends {
        return Err(Failure::unavailable("another ingest wrote to the log while we took the slot"));
    }
    let news = match history.new_because {
        Some(reason) => Some(begin(database, &history, reason).await?),
        None => None,
    };
    let schemas = SoleWriter::open(kafka, "ingest-schemas", SCHEMA_WRITER).await.map_err(kafka_failed)?;
    let mut registry = registry::read(kafka).await.map_err(kafka_failed)?;
    let History { epoch, confirmed, .. } = history;
    registry.start_ids_at_epoch(epoch.number);
    let announced = log.checkpoint.as_ref().map(|checkpoint| checkpoint.announced.clone()).unwrap_or_default();
    let tables = Tables::new(kafka, policy, registry, announced.clone(), &database_config.slot);
    let mut snapshots = log.checkpoint.as_ref().map(|checkpoint| checkpoint.snapshots.clone()).unwrap_or_default();
    if news.is_some() {
        // What was read in another history may not hold in this one.
        snapshots.begin_again();
        if config.ingest.snapshot_initial {
            let tables: Vec<String> =
                policy.groups.values().flat_map(|group| &group.tables).map(ToString::to_string).collect();
            snapshots.wish(&format!("epoch-{}", epoch.number), &tables);
        }
    }
    let (keeper, orders, chunks) = SnapshotKeeper::new(snapshots.clone());
    let reader = Reader {
        database: database.clone(),
        publication: database_config.publication.clone(),
        rows_per_second: config.ingest.snapshot_rows_per_second,
        orders,
        chunks,
    };
    let ((marking, marks), something_came) = (mpsc::channel(1), Arc::new(Notify::new()));
    let idle_interval = idle_interval(policy.closest_bound());
    let members = log.checkpoint.as_ref().map(|checkpoint| checkpoint.members.clone()).unwrap_or_default();
    let (seeing, seen) = tokio::sync::watch::channel(members.clone());
    let (publisher, reports) = Publisher::open(kafka, batch_bytes_max).map_err(kafka_failed)?;
    let mut stream = Stream {
        epoch: epoch.number,
        limits: Limits { partitions: config.partitions, record_bytes_max: record_bytes_max(batch_bytes_max) },
        database_name: database_config.name(),
        database: database.clone(),
        tables,
        topics: StateTopics::new(kafka),
        publisher,
        reports,
        broker: Broker::new(),
        schemas,
        ledger: Ledger::from(confirmed),
        progress: ProgressKeeper::new(epoch.number, log.ends, idle_interval),
        checkpoint: Checkpoint {
            slot: Some(database_config.slot.clone()),
            epoch: epoch.number,
            confirmed: Lsn(0),
            next: BTreeMap::new(),
            announced,
            members,
            snapshots: snapshots.clone(),
        },
        saved: Lsn(0),
        announcing: Vec::new(),
        checkpoint_key: format!("ingest-{:016x}", fastrand::u64(..)).into_bytes(),
        outdated,
        snapshots: keeper,
        signal_table: database_config.signal_table.clone(),
        signals_from: None,
        marks,
        something_came: something_came.clone(),
        members: seen,
        metrics: metrics.clone(),
    };
    let failed = |error: StreamError| match error {
        StreamError::Transport(error) => error.into(),
        error => Failure::unavailable(error),
    };
    stream.tables.held_by(transport.backend);
    stream.tables.register_fixed(database, &stream.schemas).await.map_err(|error| failed(error.into()))?;
    if let Some(control) = news {
        stream.announce(&control).await.map_err(failed)?;
        // With its first checkpoint: who is killed now goes on with this epoch.
        stream.save_now().await.map_err(failed)?;
    }
    tracing::info!(epoch = epoch.number, from = %confirmed, "streaming");
    metrics.epoch.set(i64::from(epoch.number));
    metrics.streaming.set(1);
    let members = Members::new(policy, &database_config.publication, seeing);
    let beside = async {
        tokio::join!(
            reader.run(shutdown.clone()),
            watch::mark(database, &marking, idle_interval, &something_came),
            watch::watch(database, &database_config.slot, members, metrics)
        );
    };
    let (asked, topics_asked) = (stream.publisher.asker(), stream.publisher.topics_asker());
    let streamed = tokio::select! {
        streamed = stream.run(&mut transport, shutdown) => streamed,
        () = hearing::until_deaf(kafka, asked) => Err(StreamError::Deaf),
        topic = crate::topics::until_one_is_gone(kafka, policy, config.partitions, topics_asked) => {
            Err(StreamError::TopicGone(topic))
        }
        // The watch has no end of its own.
        () = beside => Ok(()),
    };
    metrics.streaming.set(0);
    if streamed.is_ok() {
        stream.drain(&transport, FLUSH_WAIT_MAX).await.map_err(failed)?;
    }
    transport.close().await;
    streamed.map_err(failed)
}

/// An envelope, with room for what Kafka writes around it.
fn record_bytes_max(batch_bytes_max: Option<usize>) -> usize {
    batch_bytes_max.map_or(RECORD_BYTES_MAX, |batch| RECORD_BYTES_MAX.min(batch / 10 * 9))
}

async fn end_offsets(
    kafka: &KafkaConfig,
    groups: Vec<String>,
    partitions: u32,
) -> Result<Vec<(String, Vec<i64>)>, KafkaError> {
    let config = topics::reader(kafka, "offsets");
    let kafka = kafka.clone();
    let fetch = move || {
        let consumer: BaseConsumer = config.create()?;
        let of_group = |group: String| {
            let topic = topics::of_group(&kafka, &group);
            let end = |partition| consumer.fetch_watermarks(&topic, partition, METADATA_WAIT_MAX).map(|(_, end)| end);
            let ends = (0..partitions as i32).map(end).collect::<Result<Vec<_>, _>>()?;
            Ok((group, ends))
        };
        groups.into_iter().map(of_group).collect()
    };
    tokio::task::spawn_blocking(fetch).await.unwrap_or(Err(KafkaError::Canceled))
}
