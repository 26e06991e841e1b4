//! A lane: the ordered flow of one partition's changes into the tiers.

mod call;
mod flow;

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::retry::Pauses;
use lockstep_schemas::position::Position;
use lockstep_schemas::record::{RawRecord, RecordReader};
use lockstep_tiers::{Layout, Place};
use tokio::sync::mpsc;

use crate::lane::flow::Flow;
use crate::open::{OpenError, Opened, Shared, open};
use crate::purge::Purges;

/// Records that wait for a lane before its partition is paused.
pub(crate) const INBOX_MAX: usize = 2_000;
/// Records of one round of work.
const ROUND_MAX: usize = 500;
/// The watermark moves without actions this often, where the partition had changes, and where it had none.
const MOVE_ACTIVE: Duration = Duration::from_millis(100);
const MOVE_IDLE: Duration = Duration::from_secs(1);

/// What a lane asks of the pump.
pub(crate) enum Request {
    /// Read the partition from this offset, into this inbox.
    Start { lane: (String, i32), offset: i64, inbox: mpsc::Sender<RawRecord> },
    /// Somebody else owns the partition: join the group anew.
    Rejoin { stop: Shutdown },
}

/// Why a lane stops doing what it does.
enum Turn {
    /// Shutdown, or the partition was revoked.
    Stop,
    /// A tier forgot: begin again from its watermark.
    Back,
    /// A record can't be read: begin again behind it, with a raised floor.
    Skip { next_offset: i64 },
    /// Another owner.
    Rejoin,
}

/// A lane's identity and means.
pub(crate) struct Lane {
    pub shared: Arc<Shared>,
    pub topic: String,
    pub place: Place,
    pub requests: mpsc::Sender<Request>,
    pub stop: Shutdown,
}

impl Lane {
    /// Runs until it is told to stop.
    pub async fn run(self) {
        let mut lost_from = None;
        loop {
            let Some(opened) = self.opened(lost_from.take()).await else { return };
            let (inbox, records) = mpsc::channel(INBOX_MAX);
            let lane = (self.topic.clone(), self.place.partition as i32);
            if self.requests.send(Request::Start { lane, offset: opened.start, inbox }).await.is_err() {
                return;
            }
            match self.flow(opened, records).await {
                Turn::Stop => return,
                Turn::Back => {}
                Turn::Skip { next_offset } => lost_from = Some(next_offset),
                Turn::Rejoin => {
                    // The pump stops this lane when it leaves the group.
                    let _ = self.requests.send(Request::Rejoin { stop: self.stop.clone() }).await;
                    self.stop.cancelled().await;
                    return;
                }
            }
        }
    }

    async fn opened(&self, lost_from: Option<i64>) -> Option<Opened> {
        let mut pauses = Pauses::default();
        loop {
            let attempt = tokio::select! {
                attempt = open(&self.shared, &self.topic, &self.place, lost_from) => attempt,
                () = self.stop.cancelled() => return None,
            };
            match attempt {
                Ok(opened) => return Some(opened),
                Err(OpenError::Shut) => return None,
                Err(error) => {
                    tracing::warn!(group = %self.place.group, partition = self.place.partition, %error, "the lane can't begin yet");
                }
            }
            if !pauses.wait(&self.stop).await {
                return None;
            }
        }
    }

    /// One life of the lane, from its opening to a turn.
    async fn flow(&self, opened: Opened, records: mpsc::Receiver<RawRecord>) -> Turn {
        let life = self.stop.child_token();
        let purges = opened.owner.as_ref().map(|_| {
            let (edge, response_max) = (self.shared.edge.clone(), self.shared.response_max);
            Purges::start(edge, response_max, self.partition_tag(), life.clone())
        });
        let seen = opened.tiers.iter().map(|lane| lane.expect).min().unwrap_or_default();
        let mut flow = Flow {
            lane: self,
            reader: RecordReader::new(self.shared.registry.clone()),
            next: opened.start,
            // What L3 still has to purge lies before what the tiers have applied: it is planned again, and applied
            // nowhere but at the edge.
            seen: if opened.owner.is_some() { Position::LEAST } else { seen },
            tiers: opened.tiers,
            owner: opened.owner,
            purges,
            told: None,
            had_changes: true,
        };
        if let Some(purges) = flow.purges.as_ref().filter(|_| opened.purge_all) {
            purges.push((seen, opened.start), &[self.partition_tag()].into());
        }
        let turn = flow.run(records).await;
        life.cancel();
        turn
    }

    fn partition_tag(&self) -> String {
        Layout::partition_tag(&self.place)
    }
}
