//! What came of parked things, written where they are parked: in the transaction that asked for it, so that a retry and the
//! word of it are one.

use std::sync::Arc;

use lockstep_schemas::parked::{Outcome, Resolution};
use lockstep_schemas::position::Position;

use super::{Open, Stream, StreamError};
use crate::publisher::{Purpose, Record};

impl Stream {
    pub(super) async fn resolve(
        &mut self,
        parked: Vec<i64>,
        outcome: Outcome,
        why: String,
        open: &Open,
    ) -> Result<(), StreamError> {
        let position = Position { epoch: self.epoch, lsn: open.commit, ordinal: open.ordinal }.to_string();
        let resolution = Resolution { resolves: parked, outcome, why, position, at: open.committed_at };
        let value = serde_json::to_vec(&resolution).unwrap_or_default();
        let purpose = Purpose::Word { transaction: open.number };
        let topic = Arc::clone(&self.topics.parked);
        let record = Record { topic: &topic, partition: 0, key: None, value: Some(&value), headers: &[], purpose };
        self.publish(&record).await
    }
}
