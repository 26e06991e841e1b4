//! The windows and the evidence over restarts: a compacted topic, since the auditor's user may only read the database. Each process keeps
//! its own slices under keys of its own, so that none overwrites another's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::until_ok;
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;

use crate::nines::{History, Record};
use crate::notes::{self, NOTES_MAX, Note};
use crate::shared::{Shared, minute};

const KEEP_PAUSE: Duration = Duration::from_secs(5);
/// Minutes that are kept of one process: later ones take the keys of the earliest.
const MINUTES: u64 = 61;

/// All that was kept.
pub async fn kept(kafka: &KafkaConfig) -> Result<History, KafkaError> {
    let mut history = History::default();
    let mut tail = Tail::open(kafka, "audit", topics::AUDIT, Begin::Oldest).await?;
    // A key may come more often than once, until the topic is compacted.
    let mut newest = BTreeMap::new();
    while let Some(message) = tail.next_before_end().await? {
        if let (Some(key), Some(value)) = (message.key(), message.payload())
            && notes::note(key, value).is_none()
            && let Ok(record) = serde_json::from_slice::<Record>(value)
        {
            newest.insert(key.to_vec(), record);
        }
    }
    newest.values().for_each(|record| history.restore(record));
    Ok(history)
}

/// The evidence that was kept, the newest first.
pub async fn noted(kafka: &KafkaConfig) -> Result<Vec<Note>, KafkaError> {
    let mut newest = BTreeMap::new();
    let mut tail = Tail::open(kafka, "audit", topics::AUDIT, Begin::Oldest).await?;
    while let Some(message) = tail.next_before_end().await? {
        if let (Some(key), Some(value)) = (message.key(), message.payload())
            && let Some(note) = notes::note(key, value)
        {
            newest.insert(key.to_vec(), note);
        }
    }
    let mut notes: Vec<Note> = newest.into_values().collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.last_at));
    notes.truncate(NOTES_MAX);
    Ok(notes)
}

/// Restores what was kept, then keeps what is new, until shutdown.
pub(crate) async fn keep(shared: Arc<Shared>, kafka: KafkaConfig, run: String, shutdown: Shutdown) {
    let Some(before) = until_ok("reading what the audit has kept", &shutdown, || kept(&kafka)).await else { return };
    shared.with_history(|history| history.take_over(before));
    let open = || std::future::ready(StatePublisher::open(&kafka, "audit"));
    let Some(publisher) = until_ok("publishing what the audit keeps", &shutdown, open).await else { return };
    loop {
        let ended = tokio::select! {
            () = tokio::time::sleep(KEEP_PAUSE) => false,
            () = shutdown.cancelled() => true,
        };
        shared.show();
        let records = shared.with_history(|history| history.records(minute()));
        let (places, of_notes) = shared.with_notes(|notes| notes.records());
        let mut pairs: Vec<(String, Vec<u8>)> = records.iter().map(|record| pair(&run, record)).collect();
        pairs.extend(of_notes.iter().cloned());
        let publish = publisher.publish_all(topics::AUDIT, &pairs);
        tokio::select! {
            published = publish => match published {
                Ok(()) => shared.with_notes(|notes| notes.kept(&places, &of_notes)),
                Err(error) => tracing::warn!(%error, "what the audit found could not be kept"),
            },
            () = tokio::time::sleep(KEEP_PAUSE) => {}
        }
        if ended {
            return;
        }
    }
}

fn pair(run: &str, record: &Record) -> (String, Vec<u8>) {
    let key = if record.is_hour {
        format!("hour/{run}/{}", record.at)
    } else {
        format!("minute/{run}/{}", record.at % MINUTES)
    };
    (key, serde_json::to_vec(record).unwrap_or_default())
}
