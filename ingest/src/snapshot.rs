//! Snapshots for other consumers, beside the changes: chunks by key, each read in a window of the log. What changed in the
//! window is left out of the chunk, so that per key a consumer never gets an older row after a newer one.
//!
//! The window is marked by two messages in the log (after A. Andreakis, I. Papapanagiotou: "DBLog: A Watermark Based
//! Change-Data-Capture Framework", 2019). One thing is added: between the low mark and the reading, everything that
//! committed before the mark must have become visible (docs/protocol.md, "The gate"). A commit that was decoded before
//! the window and is not seen by the reading would else come back as its old row.

use std::collections::VecDeque;

use lockstep_process::Shutdown;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::signal::Edge;
use lockstep_schemas::snapshot::Snapshots;
use tokio::sync::mpsc;

mod reader;
mod window;

pub(crate) use reader::{Chunk, Order, Reader, Rows};
pub(crate) use window::Window;

/// What the stream keeps of the snapshots that it serves.
pub(crate) struct SnapshotKeeper {
    /// As of what has been handed to Kafka's client.
    state: Snapshots,
    /// As of what Kafka has acknowledged.
    confirmed: Snapshots,
    /// States on their way from the one to the other, each with the LSN that takes it there.
    pending: VecDeque<(Lsn, Snapshots)>,
    orders: mpsc::Sender<Order>,
    chunks: mpsc::Receiver<Chunk>,
    /// The chunk that is being read.
    ordered: Option<u64>,
    /// Cancelled where the order is given up: its reader may be trying what will not do.
    wanted: Shutdown,
    read: Option<Chunk>,
    window: Option<Window>,
}

impl SnapshotKeeper {
    /// A keeper that goes on from a confirmed state, and the reader that works for it.
    pub fn new(confirmed: Snapshots) -> (Self, mpsc::Receiver<Order>, mpsc::Sender<Chunk>) {
        let ((orders, inbox), (outbox, chunks)) = (mpsc::channel(1), mpsc::channel(1));
        let keeper = SnapshotKeeper {
            state: confirmed.clone(),
            confirmed,
            pending: VecDeque::new(),
            orders,
            chunks,
            ordered: None,
            wanted: Shutdown::new(),
            read: None,
            window: None,
        };
        (keeper, inbox, outbox)
    }

    /// As of what Kafka has acknowledged, for the checkpoint.
    pub fn confirmed(&mut self, confirmed: Lsn) -> &Snapshots {
        while let Some((_, state)) = self.pending.pop_front_if(|(end, _)| *end <= confirmed) {
            self.confirmed = state;
        }
        &self.confirmed
    }

    /// Takes a wish in that stands in the log before `end`.
    pub fn wish(&mut self, id: &str, tables: &[String], end: Lsn) {
        if !self.state.wish(id, tables) {
            tracing::warn!(id, "too many tables wait for snapshots already; this one is not taken in");
        }
        self.changed(end);
    }

    /// Gives up one snapshot, or all.
    pub fn stop(&mut self, id: Option<&str>, end: Lsn) {
        self.state.stop(id);
        // Whatever is being read was for one that may be gone.
        self.wanted.cancel();
        (self.ordered, self.window, self.read) = (None, None, None);
        self.changed(end);
    }

    /// Orders the next chunk, where there is one to be read and none is under way; hears of those that failed.
    pub fn turn(&mut self, confirmed: Lsn) {
        self.receive();
        if let Some(Chunk { read: Err(why), table, .. }) = &self.read {
            tracing::error!(%table, %why, "a table can't be snapshot");
            if self.state.table().is_some_and(|(current, _)| current == table) {
                self.state.fail(why.clone());
            }
            (self.read, self.ordered, self.window) = (None, None, None);
            self.changed(confirmed);
        }
        if self.ordered.is_some() {
            return;
        }
        if let Some((table, after)) = self.state.table() {
            let (chunk, until) = (fastrand::u64(..), Shutdown::new());
            self.wanted = until.clone();
            let order = Order { chunk, table: table.to_owned(), after: after.map(<[_]>::to_vec), until };
            self.window = None;
            // The reader may be busy with one that was given up: then in the next turn.
            self.ordered = self.orders.try_send(order).is_ok().then_some(chunk);
        }
    }

    /// Whether tables wait to be read, or are being read.
    pub fn is_at_work(&self) -> bool {
        self.state.table().is_some() || self.read.is_some() || self.ordered.is_some()
    }

    /// The window's table and its keys, while one is open.
    pub fn window(&mut self, table: &str) -> Option<&mut Window> {
        self.window.as_mut().filter(|window| window.table == table)
    }

    /// Whether a window is open at all.
    pub fn has_window(&self) -> bool {
        self.window.is_some()
    }

    /// A mark has come by. At the high one the chunk is whole, with what is left of it.
    pub fn mark(&mut self, chunk: u64, edge: Edge) -> Option<(Window, Chunk)> {
        if self.ordered != Some(chunk) {
            return None;
        }
        let table = self.state.table().map(|(table, _)| table.to_owned());
        match (edge, table) {
            (Edge::Low, Some(table)) => self.window = Some(Window::new(table)),
            (Edge::Low, None) => {}
            (Edge::High, table) => {
                self.receive();
                self.ordered = None;
                self.read.take_if(|read| read.chunk != chunk);
                let (window, read) = (self.window.take()?, self.read.take()?);
                // It may have been given up in the meantime.
                return (table.as_deref() == Some(&window.table) && read.chunk == chunk).then_some((window, read));
            }
        }
        None
    }

    /// The table under way can't be published, as was found before `end`.
    pub fn fail(&mut self, why: &str, end: Lsn) {
        self.state.fail(why.to_owned());
        self.changed(end);
    }

    /// Rows of a chunk have been handed to Kafka's client, in the transaction that ends there.
    pub fn published(&mut self, rows: u64, estimated: u64, last: Option<Vec<String>>, end: Lsn) {
        self.state.published(rows, estimated, last);
        self.changed(end);
    }

    fn receive(&mut self) {
        while let Ok(chunk) = self.chunks.try_recv() {
            if self.ordered == Some(chunk.chunk) {
                self.read = Some(chunk);
            }
        }
    }

    fn changed(&mut self, end: Lsn) {
        self.pending.push_back((end, self.state.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_is_read_no_further() {
        let (mut keeper, mut orders, _chunks) = SnapshotKeeper::new(Snapshots::default());
        keeper.wish("a", &["s.t".to_owned()], Lsn(1));
        keeper.turn(Lsn(1));
        let order = orders.try_recv().expect("an order");
        assert!(!order.until.is_cancelled());
        keeper.stop(None, Lsn(2));
        assert!(order.until.is_cancelled());
        keeper.wish("b", &["s.u".to_owned()], Lsn(3));
        keeper.turn(Lsn(3));
        let next = orders.try_recv().expect("another");
        assert_eq!((next.table.as_str(), next.until.is_cancelled()), ("s.u", false));
    }
}
