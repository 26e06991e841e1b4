//! The checkpoint: how far ingest is, and what it must remember beside that.

use std::collections::BTreeMap;

use lockstep_process::Failure;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::position::Lsn;
use lockstep_schemas::snapshot::Snapshots;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::preflight::Check;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};

use crate::members::Seen;

/// What ingest knows of its own past, in the compacted checkpoint topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The slot whose log this is; `None`: an older version wrote it.
    pub slot: Option<String>,
    pub epoch: u16,
    /// Everything that ends before it is in Kafka.
    pub confirmed: Lsn,
    /// Of each group, the next offset of each partition: a log that ends before it was made anew, or cut.
    pub next: BTreeMap<String, Vec<i64>>,
    /// Of each table, the schema that was last announced.
    pub announced: BTreeMap<String, u32>,
    /// The policy's tables, as members of the publication.
    pub members: Seen,
    pub snapshots: Snapshots,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slot: Option<String>,
    epoch: u16,
    confirmed_lsn: String,
    #[serde(default)]
    next: BTreeMap<String, Vec<i64>>,
    #[serde(default)]
    announced: BTreeMap<String, u32>,
    #[serde(default)]
    members: Seen,
    #[serde(default)]
    snapshots: Snapshots,
}

impl Checkpoint {
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            slot: self.slot.clone(),
            epoch: self.epoch,
            confirmed_lsn: self.confirmed.to_string(),
            next: self.next.clone(),
            announced: self.announced.clone(),
            members: self.members.clone(),
            snapshots: self.snapshots.clone(),
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Refuses topics that hold another slot's log: two histories in one log are none.
    pub fn insist_on(&self, kafka: &KafkaConfig, slot: &str) -> Result<(), Failure> {
        match self.slot.as_deref() {
            Some(of) if of != slot => {
                let (prefix, checkpoint) = (&kafka.topic_prefix, topics::CHECKPOINT.name(kafka));
                Err(Failure::configuration(format!("the topics {prefix}.* hold the log of slot {of}, not of {slot}")).remedy(format!(
                    "configure [database] slot = \"{of}\", or, for another installation, a [kafka] topic_prefix of its own; \
                     if the slot was renamed, stop all ingests and delete topic {checkpoint}: a new epoch begins then"
                )))
            }
            _ => Ok(()),
        }
    }

    fn from_json(value: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(value).ok()?;
        Some(Checkpoint {
            slot: wire.slot,
            epoch: wire.epoch,
            confirmed: wire.confirmed_lsn.parse().ok()?,
            next: wire.next,
            announced: wire.announced,
            members: wire.members,
            snapshots: wire.snapshots,
        })
    }
}

/// Whether the topics hold our slot's log; `None`: they hold none yet, or can't be read, which other checks tell.
pub async fn check(kafka: &KafkaConfig, slot: &str) -> Option<Check> {
    let (checkpoint, _) = read_all(kafka).await.ok()?;
    let found = checkpoint?.insist_on(kafka, slot);
    Some(Check::new("the log's slot", found.map(|()| slot.to_owned())))
}

/// The checkpoint that is furthest, and the keys of all. Each connection writes under a key of its own, so that one that
/// lost the slot and does not know it can't take back what its successor has confirmed.
pub(super) async fn read_all(kafka: &KafkaConfig) -> Result<(Option<Checkpoint>, Vec<Vec<u8>>), KafkaError> {
    let mut known: BTreeMap<Vec<u8>, Checkpoint> = BTreeMap::new();
    let mut tail = Tail::open(kafka, "checkpoint", topics::CHECKPOINT, Begin::Oldest).await?;
    while let Some(message) = tail.next_before_end().await? {
        let key = message.key().unwrap_or_default().to_vec();
        match message.payload().and_then(Checkpoint::from_json) {
            Some(checkpoint) => drop(known.insert(key, checkpoint)),
            None => drop(known.remove(&key)),
        }
    }
    let keys = known.keys().cloned().collect();
    Ok((known.into_values().max_by_key(|checkpoint| (checkpoint.epoch, checkpoint.confirmed)), keys))
}
