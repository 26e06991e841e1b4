//! The loop: one event at a time, from the log to Kafka's client, and from Kafka's reports to PostgreSQL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::envelope::Stamp;
use lockstep_schemas::parked::Parked;
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::signal::{PREFIX, Signal};
use lockstep_schemas::table_name::full_name;
use lockstep_schemas::topics;
use lockstep_source::Database;
use rdkafka::error::KafkaError;
use tokio::sync::mpsc;

use crate::control;
use crate::ledger::Ledger;
use crate::metrics::IngestMetrics;
use crate::pgoutput::{self, Message};
use crate::progress::{INTERVAL_MIN, ProgressKeeper};
use crate::publisher::{Delivery, Publisher, Purpose, Record, StatePublisher};
use crate::records::{RECORD_BYTES_MAX, RowChange, RowRecord, records};
use crate::snapshot::SnapshotKeeper;
use crate::start::Checkpoint;
use crate::tables::{Announcement, SERVER, TableError, Tables};
use crate::transport::{LogEvent, Transport, TransportError};

mod signals;

pub(crate) use signals::SignalTable;

/// Events of the log taken in a row, between two looks at Kafka's reports.
const EVENTS_AT_ONCE: usize = 128;
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);

/// Why streaming stopped before shutdown. All are tried again, from what Kafka has acknowledged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("publishing: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Log(#[from] pgoutput::PgoutputError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the log has a row of a table that it has not described")]
    Undescribed,
    #[error("a topic was made anew while we wrote to it")]
    MadeAnew,
    #[error("Kafka's client has ended")]
    ClientEnded,
}

/// The transaction that is being read.
struct Open {
    number: u64,
    commit: Lsn,
    xid: u32,
    committed_at: i64,
    ordinal: u32,
    /// Tables that are to be announced at its end.
    announcements: Vec<Announcement>,
    /// Changes so far of each table.
    by_relation: HashMap<u32, i64>,
    signals: Vec<Signal>,
}

/// Everything that streaming needs.
pub(crate) struct Stream {
    pub epoch: u16,
    pub partitions: u32,
    pub database_name: String,
    pub database: Database,
    pub tables: Tables,
    pub publisher: Publisher,
    pub reports: mpsc::UnboundedReceiver<Delivery>,
    pub state: StatePublisher,
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
        let mut tick = tokio::time::interval(INTERVAL_MIN);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut saved_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(delivery) = self.reports.recv() => {
                    self.delivered(delivery)?;
                    self.take_reports()?;
                }
                _ = tick.tick() => {
                    self.say_progress().await?;
                    self.snapshots.turn(self.ledger.confirmed().0);
                    if saved_at.elapsed() >= CHECKPOINT_INTERVAL {
                        saved_at = Instant::now();
                        self.save().await?;
                    }
                    transport.acknowledge(self.saved);
                }
                filled = transport.fill() => {
                    filled?;
                    self.take_events(transport, &mut open, &mut previous_commit).await?;
                }
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

    async fn event(
        &mut self,
        event: LogEvent<'_>,
        open: &mut Option<Open>,
        previous_commit: &mut Lsn,
    ) -> Result<(), StreamError> {
        let (lsn, message) = match event {
            LogEvent::Data { lsn, message } => (lsn, pgoutput::decode(message)?),
            LogEvent::Idle { end, at } => {
                if open.is_none() {
                    self.ledger.idle_until(end, at);
                }
                return Ok(());
            }
        };
        match message {
            Message::Begin { commit, xid, committed_at } => {
                *open = Some(Open {
                    number: self.ledger.begin(),
                    commit,
                    xid,
                    committed_at,
                    ordinal: 0,
                    announcements: Vec::new(),
                    by_relation: HashMap::new(),
                    signals: Vec::new(),
                });
            }
            Message::Commit { end } => {
                if let Some(mut transaction) = open.take() {
                    self.signals(&mut transaction, end, *previous_commit).await?;
                    *previous_commit = transaction.commit;
                    self.announce_tables(&transaction, end).await?;
                    self.ledger.commit(transaction.number, end, transaction.committed_at);
                    self.metrics.transactions.inc();
                }
            }
            Message::Logical { prefix, content, .. } => {
                if let Some(transaction) = open.as_mut().filter(|_| prefix == PREFIX) {
                    match Signal::from_json(content) {
                        Ok(signal) => transaction.signals.push(signal),
                        Err(error) => {
                            tracing::warn!(%error, "a message with our prefix that is not ours is passed over")
                        }
                    }
                }
            }
            message => {
                let Some(transaction) = open else { return Err(StreamError::Undescribed) };
                self.message(message, lsn, transaction, *previous_commit).await?;
            }
        }
        Ok(())
    }

    /// Changed tables are announced behind the transaction's rows, at positions from the greatest downwards: whether it is
    /// done or not, rows keep their ordinals when the transaction is read again.
    async fn announce_tables(&mut self, open: &Open, end: Lsn) -> Result<(), StreamError> {
        for (n, news) in open.announcements.iter().enumerate() {
            if news.changed {
                tracing::info!(table = %news.table, "the table has other columns than before");
                let position = Position { epoch: self.epoch, lsn: open.commit, ordinal: u32::MAX - n as u32 };
                let table = Some(news.table.clone());
                let control = Control { kind: ControlKind::Relation, position, xid: open.xid, table };
                self.broadcast(&control, news.group, open.number).await?;
            }
            self.announcing.push((end, news.table.clone(), news.digest));
        }
        Ok(())
    }

    async fn message(
        &mut self,
        message: Message<'_>,
        lsn: Lsn,
        open: &mut Open,
        previous_commit: Lsn,
    ) -> Result<(), StreamError> {
        let (relation, change) = match message {
            Message::Relation(shape) => {
                let name = full_name(&shape.schema, &shape.name);
                if self.signal_table.as_ref() == Some(&name) {
                    self.signals_from = Some(SignalTable::new(&shape));
                }
                if let Some(window) = self.snapshots.window(&name) {
                    window.spoil();
                }
                open.announcements.extend(self.tables.learn(shape, &self.database, &self.state).await?);
                return Ok(());
            }
            Message::Truncate { relations } => return self.truncate(&relations, open).await,
            Message::Begin { .. } | Message::Commit { .. } | Message::Logical { .. } | Message::Other => return Ok(()),
            Message::Insert { relation, new } => (relation, Change::Insert(new)),
            Message::Update { relation, old, new } => (relation, Change::Update(old, new)),
            Message::Delete { relation, old } => (relation, Change::Delete(old)),
        };
        let Some(table) = self.tables.get(relation) else {
            if let (Some(signals), Change::Insert(row)) = (&self.signals_from, &change)
                && signals.relation == relation
            {
                open.signals.extend(signals.signal(row));
            }
            return Ok(());
        };
        open.ordinal += 1;
        let collection_order = open.by_relation.entry(relation).or_insert(0);
        *collection_order += 1;
        let stamp = Stamp {
            position: Position { epoch: self.epoch, lsn: open.commit, ordinal: open.ordinal },
            lsn,
            previous_commit,
            collection_order: *collection_order,
            xid: open.xid,
            committed_at: open.committed_at,
            now: now_micros(),
            database: &self.database_name,
            server: SERVER,
            incomplete: false,
        };
        let (group, position) = (table.group, stamp.position);
        let made = match records(table, &change.as_row(), &stamp, self.partitions) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "a change can't be published; entries of its group are dropped in its stead");
                self.metrics.lost.inc();
                let (position, table) = (stamp.position, Some(table.record.full_name()));
                let control = Control { kind: ControlKind::Lost, position, xid: open.xid, table };
                return self.broadcast(&control, group, open.number).await;
            }
        };
        // A key change is two rows.
        self.metrics.rows.inc();
        let more = made.iter().filter(|record| record.value.is_some()).count() as u32 - 1;
        open.ordinal += more;
        *collection_order += i64::from(more);
        if self.snapshots.has_window() {
            self.touch(relation, &made);
        }
        for record in &made {
            self.publish_row(record, group, open.number).await?;
            if record.is_hollow {
                self.park(relation, position, record, open.number).await?;
            }
        }
        Ok(())
    }

    fn touch(&mut self, relation: u32, made: &[RowRecord]) {
        let name = self.tables.get(relation).map(|table| table.record.full_name()).unwrap_or_default();
        if let Some(window) = self.snapshots.window(&name) {
            made.iter().filter_map(|record| record.key.as_deref()).for_each(|key| window.touch(key));
        }
    }

    /// Leaves a word of a row that was too large, for who has to make it smaller.
    async fn park(
        &mut self,
        relation: u32,
        position: Position,
        row: &RowRecord,
        transaction: u64,
    ) -> Result<(), StreamError> {
        self.metrics.incomplete.inc();
        let table = self.tables.get(relation).map(|table| table.record.full_name()).unwrap_or_default();
        let parked = Parked {
            by: "ingest",
            reason: "row-too-large",
            cause: format!("a row's record is over {RECORD_BYTES_MAX} bytes, and was published without its values"),
            remedy: "keep large columns out of the publication, or in a table of their own",
            table: &table,
            position,
        };
        let (key, value) = (row.key.as_deref(), parked.to_json());
        let purpose = Purpose::Word { transaction };
        let record = Record { topic: topics::PARKED, partition: 0, key, value: Some(&value), headers: &[], purpose };
        self.publish(&record).await
    }

    async fn publish_row(&mut self, row: &RowRecord, group: usize, transaction: u64) -> Result<(), StreamError> {
        let topic = Arc::clone(&self.tables.groups[group].topic);
        let header = row.other_key.as_ref().map(|(name, key)| [(*name, key.as_slice())]);
        let headers = header.as_ref().map_or(&[][..], |header| &header[..]);
        let purpose = Purpose::Change { transaction, group };
        let (key, value) = (row.key.as_deref(), row.value.as_deref());
        self.publish(&Record { topic: &topic, partition: row.partition, key, value, headers, purpose }).await
    }

    async fn truncate(&mut self, relations: &[u32], open: &mut Open) -> Result<(), StreamError> {
        let tables: Vec<(String, usize)> = relations
            .iter()
            .filter_map(|id| self.tables.get(*id))
            .map(|table| (table.record.full_name(), table.group))
            .collect();
        for (name, group) in tables {
            if let Some(window) = self.snapshots.window(&name) {
                window.spoil();
            }
            self.control_in(ControlKind::Truncate, name, group, open).await?;
        }
        Ok(())
    }

    async fn control_in(
        &mut self,
        kind: ControlKind,
        table: String,
        group: usize,
        open: &mut Open,
    ) -> Result<(), StreamError> {
        open.ordinal += 1;
        let position = Position { epoch: self.epoch, lsn: open.commit, ordinal: open.ordinal };
        let control = Control { kind, position, xid: open.xid, table: Some(table) };
        self.broadcast(&control, group, open.number).await
    }

    async fn broadcast(&mut self, control: &Control, group: usize, transaction: u64) -> Result<(), StreamError> {
        let (topic, value, headers) =
            (self.tables.groups[group].topic.clone(), control.to_json(), control::header(control));
        for partition in 0..self.partitions as i32 {
            let purpose = Purpose::Change { transaction, group };
            self.publish(&control::record(&topic, partition, &value, &headers, purpose)).await?;
        }
        Ok(())
    }

    /// Hands a record to the client; where its queue is full, waits for reports: that is the back-pressure.
    async fn publish(&mut self, record: &Record<'_>) -> Result<(), StreamError> {
        if let Purpose::Change { transaction, .. } | Purpose::Word { transaction } = record.purpose {
            self.ledger.sent(transaction);
        }
        while !self.publisher.send(record)? {
            self.report().await?;
        }
        Ok(())
    }

    async fn report(&mut self) -> Result<(), StreamError> {
        let delivery = self.reports.recv().await.ok_or(StreamError::ClientEnded)?;
        self.delivered(delivery)
    }

    fn take_reports(&mut self) -> Result<(), StreamError> {
        while let Ok(delivery) = self.reports.try_recv() {
            self.delivered(delivery)?;
        }
        Ok(())
    }

    fn delivered(&mut self, delivery: Delivery) -> Result<(), StreamError> {
        let (partition, offset) = delivery.place?;
        if let Purpose::Word { transaction } = delivery.purpose {
            self.ledger.acknowledged(transaction);
        }
        if let Purpose::Checkpoint(confirmed) = delivery.purpose {
            self.saved = self.saved.max(confirmed);
        }
        if let Purpose::Change { transaction, group } = delivery.purpose {
            if !self.progress.acknowledged(group, partition, offset) {
                return Err(StreamError::MadeAnew);
            }
            self.ledger.acknowledged(transaction);
        }
        Ok(())
    }

    async fn say_progress(&mut self) -> Result<(), StreamError> {
        let due = self.progress.due(self.ledger.confirmed(), self.ledger.is_settled(), Instant::now());
        let Some(progress) = due else { return Ok(()) };
        let value = progress.to_json();
        let record = Record {
            topic: topics::PROGRESS,
            partition: 0,
            key: None,
            value: Some(&value),
            headers: &[],
            purpose: Purpose::State,
        };
        self.publish(&record).await
    }

    /// Sends the checkpoint on its way. PostgreSQL hears of it once Kafka has it: so a slot that is past its checkpoint is a
    /// gap. Nothing waits here: a wait for the broker, twice a second, would be one for every change behind it.
    async fn save(&mut self) -> Result<(), StreamError> {
        let (confirmed, at) = self.ledger.confirmed();
        if confirmed <= self.checkpoint.confirmed {
            return Ok(());
        }
        (self.checkpoint.confirmed, self.checkpoint.next) = (confirmed, self.progress.next());
        self.checkpoint.snapshots = self.snapshots.confirmed(confirmed).clone();
        for (_, table, schema) in self.announcing.extract_if(.., |(end, _, _)| *end <= confirmed) {
            self.checkpoint.announced.insert(table, schema);
        }
        self.metrics.confirmed_at.set(at / 1_000_000);
        let (key, value) = (self.checkpoint_key.clone(), self.checkpoint.to_json());
        self.state(&key, Some(&value), Purpose::Checkpoint(confirmed)).await?;
        for key in std::mem::take(&mut self.outdated) {
            self.state(&key, None, Purpose::State).await?;
        }
        Ok(())
    }

    /// Returns once a checkpoint of all that is confirmed is in Kafka.
    pub async fn save_now(&mut self) -> Result<(), StreamError> {
        self.save().await?;
        while self.saved < self.checkpoint.confirmed {
            self.report().await?;
        }
        Ok(())
    }

    async fn state(&mut self, key: &[u8], value: Option<&[u8]>, purpose: Purpose) -> Result<(), StreamError> {
        let record = Record { topic: topics::CHECKPOINT, partition: 0, key: Some(key), value, headers: &[], purpose };
        self.publish(&record).await
    }
}

/// A row's change that owns its tuples.
enum Change<'a> {
    Insert(pgoutput::Tuple<'a>),
    Update(Option<pgoutput::OldTuple<'a>>, pgoutput::Tuple<'a>),
    Delete(pgoutput::OldTuple<'a>),
}

impl Change<'_> {
    fn as_row(&self) -> RowChange<'_> {
        match self {
            Change::Insert(new) => RowChange::Insert(new),
            Change::Update(old, new) => RowChange::Update(old.as_ref(), new),
            Change::Delete(old) => RowChange::Delete(old),
        }
    }
}
