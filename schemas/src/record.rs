//! Records of a group's topic as events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::avro::unframe;
use crate::change::Change;
use crate::control::Control;
use crate::envelope::EnvelopePlan;
use crate::invalidation::{self, Invalidation};
use crate::registry::LiveRegistry;
use crate::topics::CONTROL_HEADER;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use tokio::sync::OwnedSemaphorePermit;

/// A schema is published before the records that need it; it is only late.
const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(10);
/// One that did not come is not waited for again before so long: where it is gone, a thousand records may name it.
const MISSING_FOR: Duration = Duration::from_secs(60);
/// Missing schemas that are remembered.
const MISSING_MAX: usize = 1_000;

/// How a record's value is to be read.
#[derive(Clone, Copy)]
enum Form {
    Row,
    Control,
    Invalidation,
}

/// A record, before it is read.
pub struct RawRecord {
    /// Its place in the partition.
    pub offset: i64,
    /// When it was given to Kafka, microseconds since 1970, by the clock of who did.
    pub published_at: Option<i64>,
    form: Form,
    value: Option<Vec<u8>>,
    /// Its share of what may wait in memory, held until it has been dealt with.
    share: Option<OwnedSemaphorePermit>,
}

impl RawRecord {
    /// Copies what matters out of the client's buffer.
    pub fn of(message: &impl Message) -> Self {
        let mut headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let form = match headers.find(|header| header.key == CONTROL_HEADER).map(|header| header.value) {
            None => Form::Row,
            Some(Some(kind)) if kind == invalidation::HEADER.as_bytes() => Form::Invalidation,
            Some(_) => Form::Control,
        };
        let published_at = message.timestamp().to_millis().map(|millis| millis.saturating_mul(1_000));
        let value = message.payload().map(<[u8]>::to_vec);
        RawRecord { offset: message.offset(), published_at, form, value, share: None }
    }

    /// Its value as it came, with its frame.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// Kilobytes that it takes, at least one.
    pub fn kilobytes(&self) -> u32 {
        let bytes = self.value.as_ref().map_or(0, Vec::len);
        u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX)
    }

    /// Keeps a share of a memory budget for as long as the record lives.
    pub fn holding(self, share: OwnedSemaphorePermit) -> Self {
        RawRecord { share: Some(share), ..self }
    }

    /// Whether it holds a share.
    pub fn has_share(&self) -> bool {
        self.share.is_some()
    }
}

/// What a record says.
#[derive(Debug)]
pub enum Event {
    /// A row's change.
    Change(Box<Change>),
    /// What concerns the whole group.
    Control(Control),
    /// Entries of one entity are to be dropped, though no change says so.
    Invalidation(Box<Invalidation>),
    /// A tombstone: nothing that the change before it did not say.
    Nothing,
}

/// Reads records; keeps a plan for each schema.
pub struct RecordReader {
    registry: LiveRegistry,
    plans: HashMap<u32, EnvelopePlan>,
    missing: HashMap<u32, Instant>,
}

impl RecordReader {
    /// A reader that finds schemas in the registry.
    pub fn new(registry: LiveRegistry) -> Self {
        RecordReader { registry, plans: HashMap::new(), missing: HashMap::new() }
    }

    /// Reads a record; the error says why it can't be read.
    pub async fn read(&mut self, record: &RawRecord) -> Result<Event, String> {
        let Some(value) = &record.value else { return Ok(Event::Nothing) };
        match record.form {
            Form::Row => {}
            Form::Control => return Control::from_json(value).map(Event::Control).map_err(|error| error.to_string()),
            Form::Invalidation => {
                let read = Invalidation::from_json(value).map_err(|error| error.to_string());
                return read.map(|one| Event::Invalidation(Box::new(one)));
            }
        }
        let (schema, body) = unframe(value).map_err(|error| error.to_string())?;
        if let Some(plan) = self.plans.get(&schema) {
            return decoded(plan, body);
        }
        let text = self.schema(schema).await.ok_or_else(|| format!("schema {schema} is not in the registry"))?;
        let plan = EnvelopePlan::compile(&text).map_err(|error| error.to_string())?;
        decoded(self.plans.entry(schema).or_insert(plan), body)
    }

    /// A schema's text. Only the first record of a missing one waits for it.
    async fn schema(&mut self, schema: u32) -> Option<Arc<str>> {
        let is_missing = self.missing.get(&schema).is_some_and(|since| since.elapsed() < MISSING_FOR);
        let text = self.registry.schema(schema, if is_missing { Duration::ZERO } else { SCHEMA_WAIT_MAX }).await;
        if text.is_some() {
            self.missing.remove(&schema);
        } else if !is_missing {
            if self.missing.len() >= MISSING_MAX {
                self.missing.clear();
            }
            self.missing.insert(schema, Instant::now());
        }
        text
    }
}

fn decoded(plan: &EnvelopePlan, body: &[u8]) -> Result<Event, String> {
    plan.decode(body).map(|change| Event::Change(Box::new(change))).map_err(|error| error.to_string())
}
