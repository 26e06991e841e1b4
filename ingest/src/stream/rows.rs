//! A row's change, and its records.

use std::sync::Arc;

use lockstep_process::clock::now_micros;
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::envelope::Stamp;
use lockstep_schemas::parked::Parked;
use lockstep_schemas::position::{Lsn, Position};

use super::{Open, Stream, StreamError};
use crate::control;
use crate::pgoutput;
use crate::publisher::{Purpose, Record};
use crate::records::{RowChange, RowRecord, records};
use crate::tables::SERVER;

/// A word about a row names its entity, and bears its key, where they are no longer than this.
const PARKED_KEY_BYTES_MAX: usize = 16_384;

/// A row's change that owns its tuples.
pub(super) enum Change<'a> {
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

impl Stream {
    pub(super) async fn row(
        &mut self,
        relation: u32,
        change: Change<'_>,
        lsn: Lsn,
        open: &mut Open,
    ) -> Result<(), StreamError> {
        let Some(table) = self.tables.get(relation) else {
            if let Some((table, group)) = self.tables.without_entity(relation) {
                return self.row_of_nobody(relation, table, group, open).await;
            }
            if let (Some(signals), Change::Insert(row)) = (&self.signals_from, &change)
                && signals.relation == relation
            {
                open.signals.extend(signals.signal(row));
            }
            return Ok(());
        };
        open.ordinal += 1;
        let collection_order = open.count(relation, 1);
        let stamp = self.stamp(open, open.ordinal, lsn, collection_order);
        let (group, position) = (table.group, stamp.position);
        let made = match records(table, &change.as_row(), &stamp, self.limits) {
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
        open.count(relation, i64::from(more));
        if self.snapshots.has_window() {
            self.touch(relation, &made);
        }
        for record in &made {
            self.publish_row(record, group, open.number).await?;
            if record.too_large.is_some() {
                self.park(relation, position, record, open.number).await?;
            }
        }
        Ok(())
    }

    /// A row of a table without its entity key: one event a transaction says that there are such.
    async fn row_of_nobody(
        &mut self,
        relation: u32,
        table: String,
        group: usize,
        open: &mut Open,
    ) -> Result<(), StreamError> {
        self.metrics.lost.inc();
        if open.count(relation, 1) > 1 {
            return Ok(());
        }
        self.control_in(ControlKind::Lost, table, group, open).await
    }

    /// What the envelope of a row says beside the row, whose own record is at `lsn`.
    pub(super) fn stamp(&self, open: &Open, ordinal: u32, lsn: Lsn, collection_order: i64) -> Stamp<'_> {
        Stamp {
            position: Position { epoch: self.epoch, lsn: open.commit, ordinal },
            lsn,
            previous_commit: open.previous_commit,
            collection_order,
            xid: open.xid,
            committed_at: open.committed_at,
            now: now_micros(),
            database: &self.database_name,
            server: SERVER,
            incomplete: false,
        }
    }

    fn touch(&mut self, relation: u32, made: &[RowRecord]) {
        let name = self.tables.get(relation).map(|table| table.record.full_name()).unwrap_or_default();
        if let Some(window) = self.snapshots.window(&name) {
            made.iter().filter_map(|record| record.key.as_deref()).for_each(|key| window.touch(key));
        }
    }

    /// Leaves a word of a row that was too large, for who has to make it smaller.
    pub(super) async fn park(
        &mut self,
        relation: u32,
        position: Position,
        row: &RowRecord,
        transaction: u64,
    ) -> Result<(), StreamError> {
        self.metrics.incomplete.inc();
        let is_short = |bytes: &[u8]| bytes.len() <= PARKED_KEY_BYTES_MAX;
        let known = self.tables.get(relation);
        let table = known.map(|table| table.record.full_name()).unwrap_or_default();
        let group = known.map(|table| self.tables.groups[table.group].name.clone()).unwrap_or_default();
        let parked = Parked {
            by: "ingest",
            reason: "row-too-large",
            cause: format!(
                "a row's record is over {} bytes, and was published without its values",
                self.limits.record_bytes_max
            ),
            remedy: "keep large columns out of the publication, or in a table of their own",
            table: &table,
            position,
            subject: row
                .too_large
                .as_deref()
                .filter(|entity| is_short(entity.as_bytes()))
                .map(|entity| (&*group, entity)),
            ..Parked::default()
        };
        let (key, value) = (row.key.as_deref().filter(|key| is_short(key)), parked.to_json());
        let purpose = Purpose::Word { transaction };
        let topic = Arc::clone(&self.topics.parked);
        let record = Record { topic: &topic, partition: 0, key, value: Some(&value), headers: &[], purpose };
        self.publish(&record).await
    }

    pub(super) async fn publish_row(
        &mut self,
        row: &RowRecord,
        group: usize,
        transaction: u64,
    ) -> Result<(), StreamError> {
        let topic = Arc::clone(&self.tables.groups[group].topic);
        let header = row.other_key.as_ref().map(|(name, key)| [(*name, key.as_slice())]);
        let headers = header.as_ref().map_or(&[][..], |header| &header[..]);
        let purpose = Purpose::Change { transaction, group };
        let (key, value) = (row.key.as_deref(), row.value.as_deref());
        self.publish(&Record { topic: &topic, partition: row.partition, key, value, headers, purpose }).await
    }

    pub(super) async fn broadcast(
        &mut self,
        control: &Control,
        group: usize,
        transaction: u64,
    ) -> Result<(), StreamError> {
        let (topic, value, headers) =
            (self.tables.groups[group].topic.clone(), control.to_json(), control::header(control));
        for partition in 0..self.limits.partitions as i32 {
            let purpose = Purpose::Change { transaction, group };
            self.publish(&control::record(&topic, partition, &value, &headers, purpose)).await?;
        }
        Ok(())
    }
}
