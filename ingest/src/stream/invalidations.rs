//! Invalidations that are asked for through the log: each becomes a record of its entity's partition, at a position of the
//! transaction that asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::invalidation::{HEADER, Invalidation, Subject};
use lockstep_schemas::partition::partition_of;
use lockstep_schemas::position::Position;
use lockstep_schemas::signal::{SUBJECT_BYTES_MAX, SUBJECTS_MAX};
use lockstep_schemas::topics::CONTROL_HEADER;

use super::{Open, Stream, StreamError};
use crate::control;
use crate::publisher::Purpose;

impl Stream {
    pub(super) async fn invalidate(
        &mut self,
        group: &str,
        subjects: Vec<Subject>,
        views: &BTreeSet<String>,
        open: &mut Open,
    ) -> Result<(), StreamError> {
        let Some(at) = self.tables.groups.iter().position(|known| &*known.name == group) else {
            tracing::warn!(group, "an invalidation of a group that the policy lacks is passed over");
            return Ok(());
        };
        if subjects.len() > SUBJECTS_MAX {
            tracing::warn!(group, subjects = subjects.len(), "an invalidation that is too large is passed over");
            return Ok(());
        }
        let (subjects, too_large): (Vec<_>, Vec<_>) =
            subjects.into_iter().partition(|subject| subject.bytes() <= SUBJECT_BYTES_MAX);
        if !too_large.is_empty() {
            // A name too long for a record of its own: all of the group goes in its stead.
            self.forget_group(group, None, open).await?;
        }
        let topic = Arc::clone(&self.tables.groups[at].topic);
        for subject in subjects {
            open.ordinal += 1;
            let partition = partition_of(&subject.entity, self.limits.partitions) as i32;
            let position = Position { epoch: self.epoch, lsn: open.commit, ordinal: open.ordinal };
            let (xid, committed_at) = (open.xid, open.committed_at);
            let one = Invalidation { position, xid, committed_at, subject, views: views.clone() };
            let (value, headers) = (one.to_json(), [(CONTROL_HEADER, HEADER.as_bytes())]);
            let purpose = Purpose::Change { transaction: open.number, group: at };
            self.publish(&control::record(&topic, partition, &value, &headers, purpose)).await?;
            self.metrics.invalidations.inc();
        }
        Ok(())
    }

    /// Everything made of a group goes: its floors rise.
    pub(super) async fn forget_group(
        &mut self,
        group: &str,
        table: Option<String>,
        open: &mut Open,
    ) -> Result<(), StreamError> {
        let Some(at) = self.tables.groups.iter().position(|known| &*known.name == group) else {
            tracing::warn!(group, "an invalidation of a group that the policy lacks is passed over");
            return Ok(());
        };
        tracing::warn!(group, "entries of a whole group are dropped, as was asked for through the log");
        open.ordinal += 1;
        let position = Position { epoch: self.epoch, lsn: open.commit, ordinal: open.ordinal };
        let control = Control { kind: ControlKind::Lost, position, xid: open.xid, table };
        self.broadcast(&control, at, open.number).await
    }
}
