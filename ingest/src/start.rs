//! The start: preflight, topics, slot, epoch; then streaming, again and again until shutdown.

use std::collections::BTreeMap;
use std::time::Duration;

use lockstep_process::config::{Config, DatabaseConfig, KafkaConfig};
use lockstep_process::failure::FailureKind;
use lockstep_process::retry::Pauses;
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::snapshot::Snapshots;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::{registry, topics};
use lockstep_source::epoch::{self, Epoch};
use lockstep_source::{Database, preflight};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

use crate::ledger::Ledger;
use crate::metrics::IngestMetrics;
use crate::progress::ProgressKeeper;
use crate::publisher::{Publisher, StatePublisher};
use crate::snapshot::{Reader, SnapshotKeeper};
use crate::standby;
use crate::stream::{Stream, StreamError};
use crate::tables::Tables;
use crate::transport::Transport;
use crate::watch;

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(3);
const METADATA_WAIT_MAX: Duration = Duration::from_secs(10);
/// Streaming that lasted so long was a success; the pauses between attempts start anew.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// What ingest knows of its own past, in the compacted checkpoint topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub epoch: u16,
    /// Everything that ends before it is in Kafka.
    pub confirmed: Lsn,
    /// Of each group, the next offset of each partition: a log that ends before it was made anew, or cut.
    pub next: BTreeMap<String, Vec<i64>>,
    /// Of each table, the schema that was last announced.
    pub announced: BTreeMap<String, u32>,
    pub snapshots: Snapshots,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    epoch: u16,
    confirmed_lsn: String,
    #[serde(default)]
    next: BTreeMap<String, Vec<i64>>,
    #[serde(default)]
    announced: BTreeMap<String, u32>,
    #[serde(default)]
    snapshots: Snapshots,
}

/// What Kafka has of our past.
struct LogState {
    /// A topic was missing, and has been created.
    made_anew: bool,
    checkpoint: Option<Checkpoint>,
    /// The schemas are gone: ids must not be given out once more.
    schemas_gone: bool,
    /// Of each group, the end of each partition.
    ends: Vec<(String, Vec<i64>)>,
}

impl LogState {
    /// Whether some partition ends before what we once published there.
    fn is_cut(&self) -> bool {
        let Some(checkpoint) = &self.checkpoint else { return false };
        self.ends.iter().any(|(group, ends)| {
            let known = checkpoint.next.get(group).map_or(&[][..], Vec::as_slice);
            known.iter().zip(ends).any(|(known, end)| known > end)
        })
    }
}

impl Checkpoint {
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            epoch: self.epoch,
            confirmed_lsn: self.confirmed.to_string(),
            next: self.next.clone(),
            announced: self.announced.clone(),
            snapshots: self.snapshots.clone(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    fn from_json(value: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(value).ok()?;
        Some(Checkpoint {
            epoch: wire.epoch,
            confirmed: wire.confirmed_lsn.parse().ok()?,
            next: wire.next,
            announced: wire.announced,
            snapshots: wire.snapshots,
        })
    }
}

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

/// What every connection needs.
struct Session<'a> {
    config: &'a Config,
    database_config: &'a DatabaseConfig,
    kafka: &'a KafkaConfig,
    policy: &'a Policy,
    database: &'a Database,
    metrics: &'a IngestMetrics,
    shutdown: &'a Shutdown,
}

/// One connection's life. `last_backend`: the server's process of the one before.
async fn session(session: &Session<'_>, last_backend: &mut Option<i32>) -> Result<(), Failure> {
    let Session { config, database_config, kafka, policy, database, metrics, shutdown } = *session;
    // Before anything is written anywhere: who stands by leaves no trace.
    standby::wait_for_slot(database_config, database, metrics, *last_backend, shutdown).await?;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    let kafka_failed = |error: KafkaError| Failure::unavailable("Kafka").because(error);
    let made_anew = crate::topics::ensure(kafka, policy, config.partitions).await?;
    let (checkpoint, outdated) = read_checkpoints(kafka).await.map_err(kafka_failed)?;
    let groups: Vec<String> = policy.groups.keys().map(ToString::to_string).collect();
    let ends = end_offsets(kafka, groups.clone(), config.partitions).await.map_err(kafka_failed)?;
    let mut registry = registry::read(kafka).await.map_err(kafka_failed)?;
    let schemas_gone = checkpoint.is_some() && registry.is_empty();
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
    let History { epoch, confirmed, .. } = history;
    registry.start_ids_at_epoch(epoch.number);
    let announced = log.checkpoint.as_ref().map(|checkpoint| checkpoint.announced.clone()).unwrap_or_default();
    let tables = Tables::new(policy, registry, announced.clone(), &database_config.slot);
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
    let (publisher, reports) = Publisher::open(kafka).map_err(kafka_failed)?;
    let mut stream = Stream {
        epoch: epoch.number,
        partitions: config.partitions,
        database_name: database_name(database_config),
        database: database.clone(),
        tables,
        publisher,
        reports,
        state: StatePublisher::open(kafka).map_err(kafka_failed)?,
        ledger: Ledger::from(confirmed),
        progress: ProgressKeeper::new(epoch.number, log.ends),
        checkpoint: Checkpoint {
            epoch: epoch.number,
            confirmed: Lsn(0),
            next: BTreeMap::new(),
            announced,
            snapshots: snapshots.clone(),
        },
        saved: Lsn(0),
        announcing: Vec::new(),
        checkpoint_key: format!("ingest-{:016x}", fastrand::u64(..)).into_bytes(),
        outdated,
        snapshots: keeper,
        signal_table: database_config.signal_table.clone(),
        signals_from: None,
        metrics: metrics.clone(),
    };
    let failed = |error: StreamError| Failure::unavailable(error);
    stream.tables.held_by(transport.backend);
    stream.tables.register_fixed(database, &stream.state).await.map_err(|error| failed(error.into()))?;
    if let Some(control) = news {
        stream.announce(&control).await.map_err(failed)?;
        // With its first checkpoint: who is killed now goes on with this epoch.
        stream.save_now().await.map_err(failed)?;
    }
    tracing::info!(epoch = epoch.number, from = %confirmed, "streaming");
    metrics.epoch.set(i64::from(epoch.number));
    metrics.streaming.set(1);
    let beside = async {
        tokio::join!(reader.run(shutdown.clone()), watch::watch(database, &database_config.slot, metrics));
    };
    let streamed = tokio::select! {
        streamed = stream.run(&mut transport, shutdown) => streamed,
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

/// Which history this is, and where in it we are.
struct History {
    epoch: Epoch,
    /// Everything that ends before it is in Kafka, or before our time.
    confirmed: Lsn,
    /// Why it is a new one, where it is.
    new_because: Option<&'static str>,
}

/// Finds out which history this is: the same as before, or, on any doubt, a new epoch. Makes the slot, and nothing else.
async fn establish(database: &Database, slot_name: &str, log: &LogState) -> Result<History, Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    let known = epoch::current(database).await.map_err(away)?;
    let (system_identifier, timeline) = epoch::server_identity(database).await.map_err(away)?;
    let slot = preflight::slot(database, slot_name).await.map_err(away)?;
    if let Some(pid) = slot.as_ref().and_then(|slot| slot.active_pid.clone()) {
        return Err(Failure::unavailable(format!("slot {slot_name} is in use by process {pid}")));
    }
    let doubt = doubt(known.as_ref(), (&system_identifier, &timeline, slot_name), slot.as_ref(), log);
    if let (None, Some(epoch), Some(checkpoint)) = (&doubt, &known, &log.checkpoint) {
        // After a crash the server's slot may stand where it stood at its last checkpoint; ours is further.
        return Ok(History { epoch: epoch.clone(), confirmed: checkpoint.confirmed, new_because: None });
    }
    let lost = slot.as_ref().is_some_and(|slot| slot.wal_status == "lost");
    if lost {
        return Err(Failure::configuration(format!("slot {slot_name} has lost its log (wal_status = lost)"))
            .remedy("drop it with pg_drop_replication_slot; ingest then begins a new epoch with a new slot"));
    }
    let confirmed = match slot {
        Some(slot) => slot.confirmed_flush,
        None => preflight::create_slot(database, slot_name).await.map_err(|error| {
            if !error.is_refusal() {
                return away(error);
            }
            Failure::configuration(format!("can't create slot {slot_name}"))
                .because(error)
                .remedy("grant REPLICATION to our user, and check max_replication_slots")
        })?,
    };
    let greatest =
        known.map_or(0, |epoch| epoch.number).max(log.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.epoch));
    let epoch = Epoch { number: greatest + 1, system_identifier, timeline, slot: slot_name.to_owned() };
    Ok(History { epoch, confirmed, new_because: Some(doubt.unwrap_or("first start")) })
}

/// Writes a new epoch down, once its log can be read: an attempt that comes to nothing uses up no number.
async fn begin(database: &Database, history: &History, reason: &str) -> Result<Control, Failure> {
    let away = |error| Failure::unavailable("the database").because(error);
    epoch::begin(database, &history.epoch, reason).await.map_err(away)?;
    let number = history.epoch.number;
    tracing::warn!(epoch = number, reason, "a new epoch begins");
    let position = Position::before(number, history.confirmed);
    Ok(Control { kind: ControlKind::Epoch, position, xid: 0, table: None })
}

/// Why this may not be the history that we read before. Pure.
fn doubt(
    known: Option<&Epoch>,
    (system_identifier, timeline, slot_name): (&str, &str, &str),
    slot: Option<&preflight::Slot>,
    log: &LogState,
) -> Option<&'static str> {
    let Some(known) = known else { return Some("first start") };
    if known.system_identifier != system_identifier {
        return Some("another server");
    }
    if known.timeline != timeline {
        return Some("another timeline");
    }
    if known.slot != slot_name {
        return Some("another slot");
    }
    let Some(slot) = slot else { return Some("the slot is gone") };
    if slot.wal_status == "lost" {
        return Some("the slot has lost its log");
    }
    if log.made_anew {
        return Some("a topic was missing");
    }
    if log.schemas_gone {
        return Some("the schemas are gone");
    }
    if log.is_cut() {
        return Some("the log ends before what was published");
    }
    match &log.checkpoint {
        None => Some("the checkpoint is gone"),
        Some(checkpoint) if checkpoint.epoch != known.number => Some("the checkpoint is of another epoch"),
        Some(checkpoint) if slot.confirmed_flush > checkpoint.confirmed => Some("the slot is past our checkpoint"),
        Some(_) => None,
    }
}

/// The checkpoint that is furthest, and the keys of all. Each connection writes under a key of its own, so that one that
/// lost the slot and does not know it can't take back what its successor has confirmed.
async fn read_checkpoints(kafka: &KafkaConfig) -> Result<(Option<Checkpoint>, Vec<Vec<u8>>), KafkaError> {
    let mut known: BTreeMap<Vec<u8>, Checkpoint> = BTreeMap::new();
    let mut tail = Tail::open(kafka, "checkpoint", topics::CHECKPOINT, Begin::Oldest).await?;
    while let Some(message) = tail.next_before_end().await? {
        let key = message.key().unwrap_or_default().to_vec();
        match message.payload().and_then(Checkpoint::from_json) {
            Some(checkpoint) => drop(known.insert(key, checkpoint)),
            None => drop(known.remove(&key)),
        }
    }
    let keys = known.keys().cloned().collect();
    Ok((known.into_values().max_by_key(|checkpoint| (checkpoint.epoch, checkpoint.confirmed)), keys))
}

async fn end_offsets(
    kafka: &KafkaConfig,
    groups: Vec<String>,
    partitions: u32,
) -> Result<Vec<(String, Vec<i64>)>, KafkaError> {
    let config = topics::reader(kafka, "offsets");
    let fetch = move || {
        let consumer: BaseConsumer = config.create()?;
        let of_group = |group: String| {
            let topic = topics::of_group(&group);
            let end = |partition| consumer.fetch_watermarks(&topic, partition, METADATA_WAIT_MAX).map(|(_, end)| end);
            let ends = (0..partitions as i32).map(end).collect::<Result<Vec<_>, _>>()?;
            Ok((group, ends))
        };
        groups.into_iter().map(of_group).collect()
    };
    tokio::task::spawn_blocking(fetch).await.unwrap_or(Err(KafkaError::Canceled))
}

fn database_name(config: &DatabaseConfig) -> String {
    let url = config.url.to_string();
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_any_doubt_a_new_epoch() {
        let known = Epoch {
            number: 3,
            system_identifier: "7".to_owned(),
            timeline: "00000001".to_owned(),
            slot: "s".to_owned(),
        };
        let slot = |confirmed, status: &str| preflight::Slot {
            confirmed_flush: Lsn(confirmed),
            wal_status: status.to_owned(),
            active_pid: None,
            retained_bytes: 0,
            unread_bytes: 0,
        };
        let checkpoint = |epoch, confirmed| {
            let next = [("g".to_owned(), vec![7, 9])].into();
            Some(Checkpoint {
                epoch,
                confirmed: Lsn(confirmed),
                next,
                announced: BTreeMap::new(),
                snapshots: Snapshots::default(),
            })
        };
        let log = |checkpoint| LogState {
            made_anew: false,
            checkpoint,
            schemas_gone: false,
            ends: vec![("g".to_owned(), vec![7, 12])],
        };
        let check = |system: &str, timeline: &str, slot: Option<preflight::Slot>, checkpoint: Option<Checkpoint>| {
            doubt(Some(&known), (system, timeline, "s"), slot.as_ref(), &log(checkpoint))
        };
        let good = || Some(slot(10, "reserved"));
        assert_eq!(check("7", "00000001", good(), checkpoint(3, 10)), None);
        assert_eq!(check("7", "00000001", good(), checkpoint(3, 12)), None, "the slot may be behind");
        assert!(check("8", "00000001", good(), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000002", good(), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", None, checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", Some(slot(10, "lost")), checkpoint(3, 10)).is_some());
        assert!(check("7", "00000001", Some(slot(11, "reserved")), checkpoint(3, 10)).is_some(), "a gap");
        assert!(check("7", "00000001", good(), checkpoint(4, 10)).is_some());
        assert!(check("7", "00000001", good(), None).is_some());
        let another = doubt(Some(&known), ("7", "00000001", "t"), good().as_ref(), &log(checkpoint(3, 10)));
        assert!(another.is_some(), "a slot of another name has another history");
        let anew = LogState { made_anew: true, ..log(checkpoint(3, 10)) };
        let cut = LogState { ends: vec![("g".to_owned(), vec![7, 8])], ..log(checkpoint(3, 10)) };
        let gone = LogState { schemas_gone: true, ..log(checkpoint(3, 10)) };
        for log in [anew, cut, gone] {
            assert!(
                doubt(Some(&known), ("7", "00000001", "s"), good().as_ref(), &log).is_some(),
                "places in the log are void"
            );
        }
    }
}
