//! What the log asks of ingest, and the chunks of snapshots that it brings by.

use lockstep_schemas::position::Lsn;
use lockstep_schemas::signal::Signal;
use lockstep_source::chunk::PublishedShape;

use super::{Open, Stream, StreamError};
use crate::pgoutput::{Field, Relation, RelationColumn, Tuple};
use crate::records::{RowChange, records};
use crate::snapshot::{Rows, Window};

/// Debezium's signal table, once the log has described it.
pub(crate) struct SignalTable {
    pub relation: u32,
    /// Places of the columns `id`, `type` and `data`.
    places: [Option<usize>; 3],
}

impl SignalTable {
    pub(super) fn new(shape: &Relation) -> Self {
        let place = |name: &str| shape.columns.iter().position(|column| column.name == name);
        SignalTable { relation: shape.id, places: ["id", "type", "data"].map(place) }
    }

    /// What an inserted row asks for.
    pub fn signal(&self, row: &Tuple<'_>) -> Option<Signal> {
        let text = |place: Option<usize>| match row.get(place?)? {
            Field::Text(text) => Some(*text),
            Field::Null | Field::Unchanged => None,
        };
        let [id, kind, data] = self.places.map(text);
        let signal = Signal::from_debezium(id?, kind?, data);
        if signal.is_none() {
            tracing::warn!(id, kind, "a row of the signal table asks for what we do not do");
        }
        signal
    }
}

impl Stream {
    /// Signals of a transaction, when it ends.
    pub(super) async fn signals(&mut self, open: &mut Open, end: Lsn) -> Result<(), StreamError> {
        for signal in std::mem::take(&mut open.signals) {
            match signal {
                Signal::Snapshot { id, tables } => self.snapshots.wish(&id, &tables, end),
                Signal::StopSnapshot { id } => self.snapshots.stop(id.as_deref(), end),
                Signal::Heartbeat => {}
                Signal::Forget { group, table } => self.forget_group(&group, table, open).await?,
                Signal::Resolve { parked, outcome, why } => self.resolve(parked, outcome, why, open).await?,
                Signal::Invalidate { group, subjects, views } => {
                    self.invalidate(&group, subjects, &views, open).await?;
                }
                Signal::Window { chunk, edge } => {
                    let Some((window, chunk)) = self.snapshots.mark(chunk, edge) else { continue };
                    if let Ok(rows) = chunk.read {
                        self.publish_chunk(&window, rows, open, end).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Publishes what of a chunk has not been overtaken by changes, in the transaction of its high mark.
    async fn publish_chunk(
        &mut self,
        window: &Window,
        read: Rows,
        open: &mut Open,
        end: Lsn,
    ) -> Result<(), StreamError> {
        if window.is_spoilt() {
            tracing::info!(table = %window.table, "too much happened while a chunk was read; it is read again");
            return Ok(());
        }
        let relation = read.shape.id;
        open.announcements.extend(self.tables.learn(description(&read.shape), &self.database, &self.schemas).await?);
        for (row, collection_order) in read.rows.iter().zip(1..) {
            let Some(table) = self.tables.get(relation) else {
                self.snapshots.fail("no group of the policy has it", end);
                return Ok(());
            };
            let tuple: Tuple<'_> = row.iter().map(|text| text.as_deref().map_or(Field::Null, Field::Text)).collect();
            let stamp = self.stamp(open, open.ordinal + 1, open.commit, collection_order);
            let (group, position) = (table.group, stamp.position);
            let made = match records(table, &RowChange::Read(&tuple), &stamp, self.limits) {
                Ok(made) => made,
                Err(error) => {
                    tracing::error!(%error, "a row of a snapshot can't be published");
                    self.snapshots.fail("a row of it can't be published; the log of ingest says why", end);
                    return Ok(());
                }
            };
            for record in made.iter().filter(|record| record.key.as_deref().is_none_or(|key| window.admits(key))) {
                open.ordinal += 1;
                self.metrics.snapshot_rows.inc();
                self.publish_row(record, group, open.number).await?;
                if record.too_large.is_some() {
                    self.park(relation, position, record, open.number).await?;
                }
            }
        }
        self.snapshots.published(read.rows.len() as u64, read.shape.rows_estimated, read.last, end);
        Ok(())
    }
}

/// The table as the log would describe it.
fn description(shape: &PublishedShape) -> Relation {
    let columns = shape.columns.iter().map(|column| RelationColumn {
        name: column.name.clone(),
        in_identity: column.in_identity,
        type_oid: column.type_oid,
        type_modifier: column.type_modifier,
    });
    Relation {
        id: shape.id,
        schema: shape.schema.clone(),
        name: shape.name.clone(),
        identity: shape.identity,
        columns: columns.collect(),
    }
}
