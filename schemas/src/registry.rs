//! The embedded schema registry: a compacted topic in the form of Confluent's `_schemas`, so that its tools can read it.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use lockstep_process::config::KafkaConfig;

use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::follower::Follower;
use crate::tail::{Begin, Tail};
use crate::topics;

/// A schema under a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRecord {
    /// What the schema is of: `<record>-key`, `<record>-value`.
    pub subject: String,
    /// Version under the subject, from 1.
    pub version: u32,
    /// The id in a record's frame.
    pub id: u32,
    /// Its text.
    pub schema: String,
    /// Never, by us.
    #[serde(default)]
    pub deleted: bool,
}

#[derive(Serialize)]
struct SchemaKey<'a> {
    keytype: &'a str,
    subject: &'a str,
    version: u32,
    magic: u32,
}

impl SchemaRecord {
    /// Key and value of its record.
    pub fn to_record(&self) -> (Vec<u8>, Vec<u8>) {
        let key = SchemaKey { keytype: "SCHEMA", subject: &self.subject, version: self.version, magic: 1 };
        (serde_json::to_vec(&key).unwrap_or_default(), serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Schemas of one epoch have so many ids, and more only where the next epoch's are not yet in use.
const EPOCH_ID_BITS: u32 = 14;

/// What the topic says, growing as it is read.
#[derive(Default)]
pub struct Registry {
    by_id: HashMap<u32, Arc<str>>,
    by_subject: HashMap<String, Vec<SchemaRecord>>,
    base: u32,
}

impl Registry {
    /// New ids are above this one. Each epoch has ids of its own, so that a registry whose topic was lost never gives an id
    /// out twice: a reader may still know the old one.
    pub fn start_ids_at_epoch(&mut self, epoch: u16) {
        self.base = u32::from(epoch) << EPOCH_ID_BITS;
    }

    /// Takes a record in. Records that are no schemas (other tools write such) are passed over.
    pub fn insert(&mut self, value: Option<&[u8]>) {
        let Some(record) = value.and_then(|value| serde_json::from_slice::<SchemaRecord>(value).ok()) else { return };
        self.by_id.entry(record.id).or_insert_with(|| record.schema.as_str().into());
        let versions = self.by_subject.entry(record.subject.clone()).or_default();
        if !versions.iter().any(|known| known.version == record.version) {
            versions.push(record);
        }
    }

    /// The schema of an id.
    pub fn schema(&self, id: u32) -> Option<Arc<str>> {
        self.by_id.get(&id).cloned()
    }

    /// Whether there is no schema at all.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The newest id under a subject.
    pub fn newest_id(&self, subject: &str) -> Option<u32> {
        self.by_subject.get(subject)?.iter().max_by_key(|record| record.version).map(|record| record.id)
    }

    /// The id of a schema under a subject, or the record that gives it one.
    pub fn id_or_new(&self, subject: &str, schema: &str) -> Result<u32, SchemaRecord> {
        let versions = self.by_subject.get(subject).map_or(&[][..], Vec::as_slice);
        if let Some(known) = versions.iter().find(|record| record.schema == schema) {
            return Ok(known.id);
        }
        let same_text = self.by_id.iter().find(|(_, text)| &***text == schema).map(|(id, _)| *id);
        Err(SchemaRecord {
            subject: subject.to_owned(),
            version: versions.iter().map(|record| record.version).max().unwrap_or(0) + 1,
            id: same_text.unwrap_or_else(|| self.by_id.keys().max().copied().unwrap_or(0).max(self.base) + 1),
            schema: schema.to_owned(),
            deleted: false,
        })
    }
}

/// Reads the whole topic as it is now.
pub async fn read(kafka: &KafkaConfig) -> Result<Registry, KafkaError> {
    let mut registry = Registry::default();
    let mut tail = Tail::open(kafka, "schemas", topics::SCHEMAS, Begin::Oldest).await?;
    while let Some(message) = tail.next_before_end().await? {
        registry.insert(message.payload());
    }
    Ok(registry)
}

/// A view of the topic that keeps up by itself; clones share it.
#[derive(Clone)]
pub struct LiveRegistry {
    registry: Arc<RwLock<Registry>>,
    version: watch::Receiver<u64>,
}

impl LiveRegistry {
    /// Follows the topic until shutdown.
    pub fn follow(follower: &Follower) -> Self {
        let registry = Arc::new(RwLock::new(Registry::default()));
        let (tell, version) = watch::channel(0);
        let shared = registry.clone();
        follower.follow(topics::SCHEMAS, Begin::Oldest, move |message| {
            shared.write().unwrap_or_else(PoisonError::into_inner).insert(message.payload());
            tell.send_modify(|version| *version += 1);
        });
        LiveRegistry { registry, version }
    }

    /// The newest id under a subject; waits for the first one.
    pub async fn id(&mut self, subject: &str, wait_max: std::time::Duration) -> Option<u32> {
        self.wait(wait_max, |registry| registry.newest_id(subject)).await
    }

    /// The schema of an id; waits for it, since a record may arrive before the schema that it names.
    pub async fn schema(&mut self, id: u32, wait_max: std::time::Duration) -> Option<Arc<str>> {
        self.wait(wait_max, |registry| registry.schema(id)).await
    }

    async fn wait<T>(&mut self, wait_max: std::time::Duration, look: impl Fn(&Registry) -> Option<T>) -> Option<T> {
        let found = async {
            loop {
                let known = look(&self.registry.read().unwrap_or_else(PoisonError::into_inner));
                if known.is_some() || self.version.changed().await.is_err() {
                    return known;
                }
            }
        };
        tokio::time::timeout(wait_max, found).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_once() {
        let mut registry = Registry::default();
        let first = registry.id_or_new("a-value", "\"int\"").expect_err("new");
        assert_eq!((first.id, first.version), (1, 1));
        registry.insert(Some(&first.to_record().1));
        assert_eq!(registry.id_or_new("a-value", "\"int\""), Ok(1));
        let second = registry.id_or_new("a-value", "\"long\"").expect_err("new");
        assert_eq!((second.id, second.version), (2, 2));
        let mut lost = Registry::default();
        lost.start_ids_at_epoch(2);
        assert_eq!(lost.id_or_new("a-value", "\"long\"").map_err(|record| record.id), Err((2 << 14) + 1));
        let other = registry.id_or_new("b-value", "\"int\"").expect_err("a new subject");
        assert_eq!((other.id, other.version), (1, 1), "one text, one id");
    }
}
