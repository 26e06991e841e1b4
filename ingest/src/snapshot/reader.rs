//! Reads the chunks that are ordered, each in its window, at the configured pace.

use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::retry::Pauses;
use lockstep_schemas::signal::{Edge, Signal};
use lockstep_source::chunk::{self, PublishedShape};
use lockstep_source::gate::{Gate, GateShut};
use lockstep_source::{Database, DatabaseError, writers};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Rows of a table's first chunk; later ones have as many as make up the bytes.
const ROWS_FIRST: usize = 128;
const ROWS_MAX: usize = 4_096;
const CHUNK_BYTES_AIM: usize = 2 << 20;
/// Where rows grow along the key, a chunk ends before it has as many as the one before lets expect.
const CHUNK_BYTES_MAX: usize = 2 * CHUNK_BYTES_AIM;
/// So many times in a row the server may refuse a chunk for what lies in the table or in a setting; some seconds, all in
/// all. Then the table is given up, so that the others are read.
const REFUSALS_MAX: u32 = 10;
/// A gate that takes longer is worth a word: some transaction holds it up.
const GATE_WORD_AFTER: Duration = Duration::from_secs(10);

/// Which rows to read next.
#[derive(Debug)]
pub(crate) struct Order {
    /// The chunk's number, in both its marks.
    pub chunk: u64,
    /// `schema.table`.
    pub table: String,
    /// The key after which it begins.
    pub after: Option<Vec<String>>,
    /// Cancelled where nobody wants it any more.
    pub until: Shutdown,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub chunk: u64,
    pub table: String,
    /// Or why this table can't be read at all.
    pub read: Result<Rows, String>,
}

/// A chunk that could not be read this time.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Gate(#[from] GateShut),
}

/// Rows in the order of their key.
#[derive(Debug)]
pub(crate) struct Rows {
    pub shape: PublishedShape,
    pub rows: Vec<Vec<Option<String>>>,
    /// The last one's key; `None`: there is no more.
    pub last: Option<Vec<String>>,
}

pub(crate) struct Reader {
    pub database: Database,
    pub publication: String,
    pub rows_per_second: u32,
    pub orders: mpsc::Receiver<Order>,
    pub chunks: mpsc::Sender<Chunk>,
}

impl Reader {
    /// Works until shutdown. What may pass is tried again, while it is wanted.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut gate = None;
        let mut rows_max = ROWS_FIRST;
        while let Some(order) = self.orders.recv().await {
            let mut pauses = Pauses::default();
            if order.after.is_none() {
                rows_max = ROWS_FIRST;
            }
            let began = Instant::now();
            let mut refusals = 0;
            let rows = loop {
                let open: &Gate = gate.get_or_insert_with(|| Gate::start(self.database.clone(), shutdown.clone()).0);
                match self.chunk(&order, open, rows_max).await {
                    Ok(rows) => break rows,
                    Err(ReadError::Database(error)) if error.is_forbidden() => {
                        let why = format!(
                            "our user may not read it: {error}; grant SELECT on it, and where row-level security hides \
                             its rows from our user, BYPASSRLS"
                        );
                        break self.refuse(&order, &why).await;
                    }
                    Err(ReadError::Database(error)) if error.is_of_statement() && refusals + 1 >= REFUSALS_MAX => {
                        let why =
                            format!("{REFUSALS_MAX} times in a row: {error}; mend it, and ask for the table again");
                        break self.refuse(&order, &why).await;
                    }
                    Err(ReadError::Gate(_)) => gate = None,
                    Err(error) => {
                        let is_refusal = matches!(&error, ReadError::Database(error) if error.is_of_statement());
                        refusals = if is_refusal { refusals + 1 } else { 0 };
                        tracing::warn!(table = %order.table, %error, "a chunk can't be read; trying again");
                    }
                }
                let is_wanted = tokio::select! {
                    goes_on = pauses.wait(&shutdown) => {
                        if !goes_on {
                            return;
                        }
                        true
                    }
                    () = order.until.cancelled() => false,
                };
                if !is_wanted {
                    break None;
                }
            };
            if let Some((rows, bytes)) = rows {
                let row_bytes = (bytes / rows.max(1)).max(1);
                rows_max = (CHUNK_BYTES_AIM / row_bytes).clamp(1, ROWS_MAX).min(rows_max * 4);
                let pace = Duration::from_secs_f64(rows as f64 / f64::from(self.rows_per_second));
                tokio::time::sleep_until(began + pace).await;
            }
        }
    }

    /// Rows and bytes read; `None` where the table can't be read at all.
    async fn chunk(&self, order: &Order, gate: &Gate, rows_max: usize) -> Result<Option<(usize, usize)>, ReadError> {
        chunk::send(&self.database, &Signal::Window { chunk: order.chunk, edge: Edge::Low }).await?;
        self.settle(order, gate).await?;
        // Within the window: a change of the table's columns before it is seen here, one after it is seen in the log.
        let found = chunk::shape(&self.database, &self.publication, &order.table).await?;
        let shape = match found {
            Some(shape) if !shape.key().is_empty() => shape,
            Some(_) => {
                return Ok(self
                    .refuse(order, "it has no primary key or replica identity that is published whole, to read it by")
                    .await);
            }
            None => return Ok(self.refuse(order, "the publication does not carry it").await),
        };
        let found = shape.rows_after(&self.database, order.after.as_deref(), rows_max, CHUNK_BYTES_MAX).await?;
        let chunk::Chunk { rows, bytes, is_end } = found;
        let key = shape.key();
        let last = rows.last().filter(|_| !is_end);
        let last = last.map(|row| key.iter().map(|at| row[*at].clone().unwrap_or_default()).collect());
        let size = (rows.len(), bytes);
        let chunk = Chunk { chunk: order.chunk, table: order.table.clone(), read: Ok(Rows { shape, rows, last }) };
        // Before the mark: whoever sees the mark has the rows. The stream is gone only at the end.
        let _ = self.chunks.send(chunk).await;
        chunk::send(&self.database, &Signal::Window { chunk: order.chunk, edge: Edge::High }).await?;
        Ok(Some(size))
    }

    /// Waits until everything that committed before the low mark is visible.
    async fn settle(&self, order: &Order, gate: &Gate) -> Result<(), GateShut> {
        let settled = gate.settle();
        tokio::pin!(settled);
        match tokio::time::timeout(GATE_WORD_AFTER, &mut settled).await {
            Ok(settled) => settled.map(drop),
            Err(_) => {
                let oldest = writers::oldest(&self.database).await.ok().flatten().map(|oldest| oldest.to_string());
                tracing::warn!(
                    table = %order.table,
                    oldest = oldest.as_deref(),
                    "the snapshot waits for a transaction that has been writing for long"
                );
                settled.await.map(drop)
            }
        }
    }

    async fn refuse(&self, order: &Order, why: &str) -> Option<(usize, usize)> {
        let chunk = Chunk { chunk: order.chunk, table: order.table.clone(), read: Err(why.to_owned()) };
        let _ = self.chunks.send(chunk).await;
        None
    }
}
