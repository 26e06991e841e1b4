//! What the server is told: from a task of its own, so that it hears of us whatever else waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_schemas::position::Lsn;
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::handshake::Wire;
use super::inbox::POSTGRES_EPOCH;

/// How often the server hears of us.
const INTERVAL: Duration = Duration::from_secs(1);

/// The task's handle.
pub(super) struct Feedback {
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: AtomicU64,
    confirmed: AtomicU64,
    ends: AtomicBool,
    wake: Notify,
}

impl Feedback {
    pub fn start(write: WriteHalf<Wire>) -> Self {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(say(write, shared.clone()));
        Feedback { shared, task: Some(task) }
    }

    /// One that tells nobody.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn deaf() -> Self {
        Feedback { shared: Arc::default(), task: None }
    }

    pub fn received(&self, lsn: Lsn) {
        self.shared.received.fetch_max(lsn.0, Ordering::Relaxed);
    }

    /// The server may forget what ends before this LSN.
    pub fn acknowledge(&self, confirmed: Lsn) {
        if self.shared.confirmed.fetch_max(confirmed.0, Ordering::Relaxed) < confirmed.0 {
            self.hurry();
        }
    }

    /// Says it now.
    pub fn hurry(&self) {
        self.shared.wake.notify_one();
    }

    /// Says the last, and that it is the last.
    pub async fn stop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.hurry();
        if let Some(task) = self.task.take() {
            // A panic there has been reported; there is nothing left to be said.
            let _ = tokio::time::timeout(INTERVAL, task).await;
        }
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn say(mut write: WriteHalf<Wire>, shared: Arc<Shared>) {
    loop {
        // Either may end the wait; both lead to the same.
        let _ = tokio::time::timeout(INTERVAL, shared.wake.notified()).await;
        let ends = shared.ends.load(Ordering::Relaxed);
        let confirmed = shared.confirmed.load(Ordering::Relaxed);
        let received = shared.received.load(Ordering::Relaxed).max(confirmed);
        if let Err(error) = status(&mut write, received, confirmed, ends).await {
            tracing::debug!(%error, "the server can't be told how far we are; the stream will end");
            return;
        }
        if ends {
            return;
        }
    }
}

/// A standby status update; every one but the last asks for an answer, by which we know that the server lives, and where it
/// is. The last is followed by the end of the stream and of the connection.
async fn status(write: &mut WriteHalf<Wire>, received: u64, confirmed: u64, last: bool) -> io::Result<()> {
    let mut out = Vec::with_capacity(64);
    out.push(b'd');
    out.extend(38_u32.to_be_bytes());
    out.push(b'r');
    for lsn in [received, confirmed, confirmed] {
        out.extend(lsn.to_be_bytes());
    }
    out.extend((now_micros() - POSTGRES_EPOCH).to_be_bytes());
    out.push(u8::from(!last));
    if last {
        out.extend([b'c', 0, 0, 0, 4, b'X', 0, 0, 0, 4]);
    }
    write.write_all(&out).await?;
    write.flush().await
}
