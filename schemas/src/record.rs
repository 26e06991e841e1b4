//! Records of a group's topic as events.

use std::collections::HashMap;
use std::time::Duration;

use crate::avro::unframe;
use crate::change::Change;
use crate::control::Control;
use crate::envelope::EnvelopePlan;
use crate::registry::LiveRegistry;
use crate::topics::CONTROL_HEADER;
use rdkafka::Message;
use rdkafka::message::Headers as _;
use tokio::sync::OwnedSemaphorePermit;

/// A schema is published before the records that need it; it is only late.
const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(10);

/// A record, before it is read.
pub struct RawRecord {
    /// Its place in the partition.
    pub offset: i64,
    is_control: bool,
    value: Option<Vec<u8>>,
    /// Its share of what may wait in memory, held until it has been dealt with.
    share: Option<OwnedSemaphorePermit>,
}

impl RawRecord {
    /// Copies what matters out of the client's buffer.
    pub fn of(message: &impl Message) -> Self {
        let headers = message.headers();
        let is_control = headers.is_some_and(|headers| headers.iter().any(|header| header.key == CONTROL_HEADER));
        RawRecord { offset: message.offset(), is_control, value: message.payload().map(<[u8]>::to_vec), share: None }
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
    /// A tombstone: nothing that the change before it did not say.
    Nothing,
}

/// Reads records; keeps a plan for each schema.
pub struct RecordReader {
    registry: LiveRegistry,
    plans: HashMap<u32, EnvelopePlan>,
}

impl RecordReader {
    /// A reader that finds schemas in the registry.
    pub fn new(registry: LiveRegistry) -> Self {
        RecordReader { registry, plans: HashMap::new() }
    }

    /// Reads a record; the error says why it can't be read.
    pub async fn read(&mut self, record: &RawRecord) -> Result<Event, String> {
        let Some(value) = &record.value else { return Ok(Event::Nothing) };
        if record.is_control {
            return Control::from_json(value).map(Event::Control).map_err(|error| error.to_string());
        }
        let (schema, body) = unframe(value).map_err(|error| error.to_string())?;
        if !self.plans.contains_key(&schema) {
            let text = self.registry.schema(schema, SCHEMA_WAIT_MAX).await;
            let text = text.ok_or_else(|| format!("schema {schema} is not in the registry"))?;
            self.plans.insert(schema, EnvelopePlan::compile(&text).map_err(|error| error.to_string())?);
        }
        let change = self.plans[&schema].decode(body).map_err(|error| error.to_string())?;
        Ok(Event::Change(Box::new(change)))
    }
}
