//! The loop: one event at a time, from the log to Kafka's client, and from Kafka's reports to PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::control::Control;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::sole_writer::SoleWriter;
use lockstep_schemas::topics;
use lockstep_source::Database;
use rdkafka::error::KafkaError;
use tokio::sync::{Notify, mpsc, watch};

use crate::ledger::Ledger;
use crate::members::Seen;
use crate::metrics::IngestMetrics;
use crate::pgoutput;
use crate::progress::{INTERVAL_MIN, ProgressKeeper};
use crate::publisher::{Delivery, Publisher};
use crate::records::Limits;
use crate::snapshot::SnapshotKeeper;
use crate::start::Checkpoint;
use crate::tables::{TableError, Tables};
use crate::transport::{Transport, TransportError};

mod invalidations;
mod reports;
mod resolutions;
mod rows;
mod signals;
mod transaction;

use signals::SignalTable;
use transaction::Open;

/// Events of the log taken in a row, between two looks at Kafka's reports.
const EVENTS_AT_ONCE: usize = 128;
/// Where nothing came since the last one, the next tick may be so late; what comes brings it forward.
const TICK_QUIET: Duration = Duration::from_millis(250);
/// Records that nobody acknowledges for so long are worth a line.
const STALLED_AFTER: Duration = Duration::from_secs(10);
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
const YIELD_INTERVAL: Duration = Duration::from_millis(20);

/// Why streaming stopped before shutdown. All are tried again, from what Kafka has acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("publishing: {0}")]
    Kafka(#[from] KafkaError),
    #[error(
        "a record of {bytes} bytes is more than topic {topic} takes; raise its max.message.bytes, for nothing behind it is \
         published before"
    )]
    TooLarge { topic: String, bytes: usize },
    #[error(transparent)]
    Log(#[from] pgoutput::PgoutputError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the log has a row of a table that it has not described")]
    Undescribed,
    #[error("a topic was made anew while we wrote to it")]
    MadeAnew,
    #[error("Kafka's client has lost its brokers for good, though they answer")]
    Deaf,
    /// A topic of the log is gone.
    #[error("topic {0} is gone")]
    TopicGone(String),
    #[error("Kafka's client has ended")]
    ClientEnded,
}

/// Whether the broker takes what it is given.
pub(crate) struct Broker {
    /// Reports so far, and how many there were when one was looked for last.
    reports: u64,
    seen: u64,
    since: Instant,
    is_stalled: bool,
}

impl Broker {
    pub fn new() -> Self {
        Broker { reports: 0, seen: 0, since: Instant::now(), is_stalled: false }
    }

    /// Says once that nothing is acknowledged any more, and once that it is again. `waits`: for some report.
    fn look(&mut self, waits: bool) {
        if self.reports != self.seen || !waits {
            (self.seen, self.since) = (self.reports, Instant::now());
            if std::mem::take(&mut self.is_stalled) {
                tracing::info!("Kafka acknowledges records again");
            }
        } else if !self.is_stalled && self.since.elapsed() >= STALLED_AFTER {
            self.is_stalled = true;
            tracing::warn!("Kafka has acknowledged nothing for {} s; ingest waits for it", STALLED_AFTER.as_secs());
        }
    }
}

/// Names of the topics that hold no rows.
pub(crate) struct StateTopics {
    progress: Arc<str>,
    checkpoint: Arc<str>,
    parked: Arc<str>,
}

impl StateTopics {
    pub fn new(kafka: &KafkaConfig) -> Self {
        let [progress, checkpoint, parked] =
            [topics::PROGRESS, topics::CHECKPOINT, topics::PARKED].map(|topic| topic.name(kafka).into());
        StateTopics { progress, checkpoint, parked }
    }
}

/// Everything that streaming needs.
pub(crate) struct Stream {
    pub epoch: u16,
    pub limits: Limits,
    pub database_name: String,
    pub database: Database,
    pub tables: Tables,
    pub topics: StateTopics,
    pub publisher: Publisher,
    pub reports: mpsc::UnboundedReceiver<Delivery>,
    pub broker: Broker,
    pub schemas: SoleWriter,
    pub ledger: Ledger,
    pub progress: ProgressKeeper,
    pub checkpoint: Checkpoint,
    /// Of it, what Kafka has.
    pub saved: Lsn,
    /// Tables announced by transactions that end there: noted in the checkpoint once that is confirmed.
    pub announcing: Vec<(Lsn, String, u32)>,
    /// The key of this connection's checkpoint.
    pub checkpoint_key: Vec<u8>,
    /// Keys of earlier ones, to be removed once there is a newer.
    pub outdated: Vec<Vec<u8>>,
    pub snapshots: SnapshotKeeper,
    /// The name of Debezium's signal table, where there is one.
    pub signal_table: Option<String>,
    /// The table itself, once the log has described it.
    pub signals_from: Option<SignalTable>,
    /// Where the log ends, and when that was.
    pub marks: mpsc::Receiver<(Lsn, i64)>,
    /// Says that the log may have moved on.
    pub something_came: Arc<Notify>,
    /// The policy's tables as members of the publication, for the checkpoint.
    pub members: watch::Receiver<Seen>,
    pub metrics: IngestMetrics,
}

impl Stream {
    /// Publishes an event to every partition of all groups, as a transaction of its own.
    pub async fn announce(&mut self, control: &Control) -> Result<(), StreamError> {
        let number = self.ledger.begin();
        for group in 0..self.tables.groups.len() {
            self.broadcast(control, group, number).await?;
        }
        self.ledger.commit(number, control.position.lsn, now_micros());
        while !self.ledger.is_settled() {
            self.report().await?;
        }
        Ok(())
    }

    /// Streams until shutdown, or until something breaks.
    pub async fn run(&mut self, transport: &mut Transport, shutdown: &Shutdown) -> Result<(), StreamError> {
        let mut open: Option<Open> = None;
        let mut previous_commit = Lsn(0);
        let (mut tick_at, mut is_quiet) = (Instant::now(), false);
        let (mut saved_at, mut yielded_at) = (Instant::now(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(delivery) = self.reports.recv() => {
                    is_quiet = false;
                    self.delivered(delivery)?;
                    self.take_reports()?;
                }
                () = tokio::time::sleep_until(tick_at.into()) => {
                    self.broker.look(!self.ledger.is_settled());
                    self.say_progress().await?;
                    self.snapshots.turn(self.ledger.confirmed().0);
                    if saved_at.elapsed() >= CHECKPOINT_INTERVAL {
                        saved_at = Instant::now();
                        self.save().await?;
                    }
                    transport.acknowledge(self.saved);
                    let rest = if is_quiet && !self.snapshots.is_at_work() { TICK_QUIET } else { INTERVAL_MIN };
                    (tick_at, is_quiet) = (Instant::now() + rest, true);
                }
                Some((lsn, at)) = self.marks.recv() => {
                    self.ledger.mark(lsn, at);
                    tick_at = tick_at.min(Instant::now());
                }
                filled = transport.fill() => {
                    filled?;
                    is_quiet = false;
                    self.something_came.notify_one();
                    self.take_events(transport, &mut open, &mut previous_commit).await?;
                    // In a flow nothing here ever waits, and the runtime's own limit is far: whoever shares this thread, as
                    // feedback may, would be heard of too late.
                    if yielded_at.elapsed() >= YIELD_INTERVAL {
                        tokio::task::yield_now().await;
                        yielded_at = Instant::now();
                    }
                }
            }
            if !is_quiet {
                tick_at = tick_at.min(Instant::now() + INTERVAL_MIN);
            }
        }
    }

    /// Takes all that is here, without asking every other source in between.
    async fn take_events(
        &mut self,
        transport: &mut Transport,
        open: &mut Option<Open>,
        previous_commit: &mut Lsn,
    ) -> Result<(), StreamError> {
        let mut taken = 0;
        while let Some(event) = transport.next()? {
            self.event(event, open, previous_commit).await?;
            taken += 1;
            if taken % EVENTS_AT_ONCE == 0 {
                self.take_reports()?;
            }
        }
        Ok(())
    }

    /// Stops in order: everything sent is acknowledged, the checkpoint is saved, and then PostgreSQL is told.
    pub async fn drain(&mut self, transport: &Transport, wait_max: Duration) -> Result<(), StreamError> {
        tokio::task::block_in_place(|| self.publisher.flush(wait_max));
        self.take_reports()?;
        let saved = tokio::time::timeout(wait_max, self.save_now()).await;
        transport.acknowledge(self.saved);
        // A checkpoint that is not in time is saved by whoever comes next.
        saved.unwrap_or(Ok(()))
    }
}
