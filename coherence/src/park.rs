//! A word, in the parked topic, of each record that can't be read.

use lockstep_process::Shutdown;
use lockstep_schemas::parked::{Parked, Spot};
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::topics;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

/// Words that wait for Kafka; whoever has more waits for a place.
const WAITING_MAX: usize = 1_000;

const REASON: &str = "unreadable";
const REMEDY: &str = "find out who wrote it: ingest must be the only writer; where only its schema came late, retry it";

/// Hands words over.
#[derive(Clone)]
pub(crate) struct Park {
    words: mpsc::Sender<(Spot, String)>,
    /// Records that could not be read.
    pub unreadable: Counter,
}

impl Park {
    /// Starts the task that publishes. It ends with the process.
    pub fn start(publisher: StatePublisher, stop: Shutdown) -> Self {
        let (words, mut waiting) = mpsc::channel::<(Spot, String)>(WAITING_MAX);
        tokio::spawn(async move {
            while let Some(Some((spot, why))) = stop.run_until_cancelled(waiting.recv()).await {
                let (key, value) = word(spot, &why);
                let published = publisher.publish(topics::PARKED, key.as_bytes(), &value);
                match stop.run_until_cancelled(published).await {
                    None => return,
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::warn!(%error, "a record that can't be read was not parked"),
                }
            }
        });
        Park { words, unreadable: Counter::default() }
    }

    /// A word of a record; waits for a place.
    pub async fn add(&self, topic: &str, partition: i32, offset: i64, why: String) {
        self.unreadable.inc();
        // With the process that task ends too; the record is met again.
        let _ = self.words.send((Spot { topic: topic.to_owned(), partition, offset }, why)).await;
    }
}

/// Key and value: the same of a record that is met again.
fn word(spot: Spot, why: &str) -> (String, Vec<u8>) {
    let key = format!("{}-{}-{}", spot.topic, spot.partition, spot.offset);
    let parked = Parked {
        by: "engine",
        reason: REASON,
        cause: format!("a record can't be read: {why}; entries of its partition were dropped in its stead"),
        remedy: REMEDY,
        table: &spot.topic.clone(),
        record: Some(spot),
        ..Parked::default()
    };
    (key, parked.to_json())
}
