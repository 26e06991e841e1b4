//! The replication connection: PostgreSQL's streaming replication protocol, as far as logical decoding needs it
//! (PostgreSQL documentation, "Streaming Replication Protocol"). It knows nothing of what the messages say.

use std::time::{Duration, Instant};

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::position::Lsn;
use lockstep_source::epoch::Epoch;
use tokio::io::{AsyncReadExt as _, ReadHalf};
use tokio::time::timeout_at;

mod feedback;
mod handshake;
mod inbox;
mod target;
mod tls;

use feedback::Feedback;
pub(crate) use handshake::TransportError;
use handshake::{Handshake, Wire};
use inbox::Inbox;
pub(crate) use inbox::LogEvent;
#[cfg(feature = "fuzz")]
pub(crate) use inbox::hear;
use target::Target;

/// What `pg_stat_replication` calls us; a stale connection is known by it.
pub(crate) const APPLICATION: &str = "lockstep-ingest";
/// The server ends a connection that is silent for so long. Our feedback comes once a second.
pub(crate) const SENDER_TIMEOUT: Duration = Duration::from_secs(5);
/// Each feedback asks for an answer: a server that gives none for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(6);
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes that one read takes at most.
const READ_BYTES_MAX: usize = 256 << 10;
/// So many reads that follow one another so closely are a flow; then a short rest lets the next one find many messages,
/// which saves both sides their wake-ups. (A small transaction's messages are only three.)
const FLOW_READS: u32 = 24;
const FLOW_GAP_MAX: Duration = Duration::from_micros(200);
const FLOW_REST: Duration = Duration::from_millis(1);

/// A stream of the log from where our slot stands.
pub(crate) struct Transport {
    wire: ReadHalf<Wire>,
    inbox: Inbox,
    feedback: Feedback,
    heard_at: Instant,
    /// Reads so far that followed closely on the one before.
    close_reads: u32,
    /// In a flow, when the next read may be.
    rests_until: Option<Instant>,
    /// The server's process for this connection.
    pub backend: i32,
}

impl Transport {
    /// Connects, makes sure that this very connection leads to the server of the epoch (an address may have moved since we
    /// asked), and starts to stream what ends after `from`.
    pub async fn connect(config: &DatabaseConfig, epoch: &Epoch, from: Lsn) -> Result<Self, TransportError> {
        let target = Target::parse(config.url.expose())?;
        let connect = async {
            let mut handshake = Handshake::connect(&target).await?;
            let server = handshake.identify_system().await?;
            if server.system_identifier != epoch.system_identifier || server.timeline != epoch.timeline {
                return Err(TransportError::OtherServer);
            }
            handshake.start_replication(&config.slot, &config.publication, from).await?;
            Ok(handshake)
        };
        let connected = tokio::time::timeout(CONNECT_WAIT_MAX, connect).await;
        let handshake = connected.map_err(|_| TransportError::Silent(CONNECT_WAIT_MAX))??;
        let (backend, inbox) = (handshake.backend, Inbox::new(handshake.rest));
        let (wire, write) = tokio::io::split(handshake.wire);
        let feedback = Feedback::start(write);
        Ok(Transport { wire, inbox, feedback, heard_at: Instant::now(), close_reads: 0, rests_until: None, backend })
    }

    /// Waits until more of the log is here. It may be dropped and called again without losing any.
    pub async fn fill(&mut self) -> Result<(), TransportError> {
        if let Some(rested_at) = self.rests_until {
            tokio::time::sleep_until(rested_at.into()).await;
            self.rests_until = None;
        }
        let waits_from = Instant::now();
        let buffer = self.inbox.make_room(READ_BYTES_MAX);
        let read = timeout_at((self.heard_at + SILENCE_MAX).into(), self.wire.read_buf(buffer)).await;
        match read.map_err(|_| TransportError::Silent(SILENCE_MAX))?? {
            0 => Err(TransportError::Ended),
            _ => {
                self.heard_at = Instant::now();
                let is_close = self.heard_at - waits_from < FLOW_GAP_MAX;
                self.close_reads = if is_close { self.close_reads.saturating_add(1) } else { 0 };
                // A moment, not a length: whoever drops this and calls again does not rest anew.
                self.rests_until = (self.close_reads >= FLOW_READS).then(|| self.heard_at + FLOW_REST);
                Ok(())
            }
        }
    }

    /// The next event that is here whole.
    pub fn next(&mut self) -> Result<Option<LogEvent<'_>>, TransportError> {
        self.inbox.next(&self.feedback)
    }

    /// Tells the server that it may forget what ends before this LSN.
    pub fn acknowledge(&self, confirmed: Lsn) {
        self.feedback.acknowledge(confirmed);
    }

    /// Ends the stream; the last acknowledgement has been read by the server when this returns, or the time is up.
    pub async fn close(mut self) {
        self.feedback.stop().await;
        let drain = async {
            while self.wire.read_buf(self.inbox.make_room(READ_BYTES_MAX)).await.is_ok_and(|read| read > 0) {
                self.inbox.clear();
            }
        };
        if tokio::time::timeout(CLOSE_WAIT_MAX, drain).await.is_err() {
            tracing::debug!("the server did not end the replication connection in time");
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        let is_too_young = error.is_without_publication();
        let failure = Failure::unavailable(error);
        if is_too_young {
            return failure.remedy(
                "the log that is read was written before the publication was made (again), and can't be read by it: stop \
                 the ingests, SELECT pg_drop_replication_slot(...) of ours, and start; a new epoch begins",
            );
        }
        failure
    }
}
