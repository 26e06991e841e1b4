//! A transaction of the log: its begin, what it is made of, its end.

use lockstep_process::clock::now_micros;
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::signal::Signal;
use lockstep_schemas::table_name::full_name;

use super::rows::Change;
use super::{SignalTable, Stream, StreamError};
use crate::pgoutput::{self, Message};
use crate::tables::Announcement;
use crate::transport::LogEvent;

/// What was committed earlier is part of a backlog. With a clock that is wrong by more, ingest is slower, or costs more.
const LIVE_AGE_MAX_US: i64 = 1_000_000;

/// The transaction that is being read.
pub(super) struct Open {
    pub number: u64,
    pub commit: Lsn,
    pub xid: u32,
    pub committed_at: i64,
    /// Where the one before it stands.
    pub previous_commit: Lsn,
    pub ordinal: u32,
    /// Tables that are to be announced at its end.
    pub announcements: Vec<Announcement>,
    /// Changes so far of each table; mostly there is one.
    pub by_relation: Vec<(u32, i64)>,
    pub signals: Vec<Signal>,
}

impl Open {
    /// Counts more changes of a table; how many it has.
    pub fn count(&mut self, relation: u32, more: i64) -> i64 {
        if let Some((_, count)) = self.by_relation.iter_mut().rfind(|(known, _)| *known == relation) {
            *count += more;
            return *count;
        }
        self.by_relation.push((relation, more));
        more
    }
}

impl Stream {
    pub(super) async fn event(
        &mut self,
        event: LogEvent<'_>,
        open: &mut Option<Open>,
        previous_commit: &mut Lsn,
    ) -> Result<(), StreamError> {
        let (lsn, message) = match event {
            LogEvent::Data { lsn, message } => (lsn, pgoutput::decode(message)?),
            LogEvent::Idle { end } => {
                if open.is_none() {
                    self.ledger.idle_until(end);
                }
                return Ok(());
            }
        };
        match message {
            Message::Begin { commit, xid, committed_at } => {
                self.publisher.set_live(now_micros() - committed_at < LIVE_AGE_MAX_US);
                *open = Some(Open {
                    number: self.ledger.begin(),
                    commit,
                    xid,
                    committed_at,
                    previous_commit: *previous_commit,
                    ordinal: 0,
                    announcements: Vec::new(),
                    by_relation: Vec::new(),
                    signals: Vec::new(),
                });
            }
            Message::Commit { end } => {
                if let Some(mut transaction) = open.take() {
                    self.signals(&mut transaction, end).await?;
                    *previous_commit = transaction.commit;
                    self.announce_tables(&transaction, end).await?;
                    self.ledger.commit(transaction.number, end, transaction.committed_at);
                    self.metrics.transactions.inc();
                }
            }
            Message::Logical { prefix, content, .. } => {
                if let Some(transaction) = open.as_mut().filter(|_| self.tables.is_meant_by(prefix)) {
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
                self.message(message, lsn, transaction).await?;
            }
        }
        Ok(())
    }

    async fn message(&mut self, message: Message<'_>, lsn: Lsn, open: &mut Open) -> Result<(), StreamError> {
        let (relation, change) = match message {
            Message::Relation(shape) => {
                let name = full_name(&shape.schema, &shape.name);
                if self.signal_table.as_ref() == Some(&name) {
                    self.signals_from = Some(SignalTable::new(&shape));
                }
                if let Some(window) = self.snapshots.window(&name) {
                    window.spoil();
                }
                open.announcements.extend(self.tables.learn(shape, &self.database, &self.schemas).await?);
                return Ok(());
            }
            Message::Truncate { relations } => return self.truncate(&relations, open).await,
            Message::Begin { .. } | Message::Commit { .. } | Message::Logical { .. } | Message::Other => return Ok(()),
            Message::Insert { relation, new } => (relation, Change::Insert(new)),
            Message::Update { relation, old, new } => (relation, Change::Update(old, new)),
            Message::Delete { relation, old } => (relation, Change::Delete(old)),
        };
        self.row(relation, change, lsn, open).await
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

    async fn truncate(&mut self, relations: &[u32], open: &mut Open) -> Result<(), StreamError> {
        let tables: Vec<(String, usize)> = relations.iter().filter_map(|id| self.tables.place(*id)).collect();
        for (name, group) in tables {
            if let Some(window) = self.snapshots.window(&name) {
                window.spoil();
            }
            self.control_in(ControlKind::Truncate, name, group, open).await?;
        }
        Ok(())
    }

    pub(super) async fn control_in(
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
}
