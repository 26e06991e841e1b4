//! Scores as they come: read, checked, taken in or refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_process::retry::Pauses;
use lockstep_schemas::avro::unframe;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::scores::{SCHEMA, Score};
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use tokio::sync::Notify;

use crate::refused::{Refusal, Refused};
use crate::select::Scores;

/// Several forecasts of a large shop; what was published before them is out of date.
const RECORDS_AT_START_MAX: i64 = 200_000;
/// A schema is registered before the records that need it; it is only late.
const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(5);

/// What has come so far, shared with whoever chooses.
pub(crate) struct Incoming {
    state: Mutex<(Scores, Refused)>,
    /// Rung at each record.
    pub arrived: Notify,
}

impl Incoming {
    /// Nothing yet; scores older than `age_max` microseconds will not count.
    pub fn new(age_max: i64) -> Arc<Self> {
        let state = Mutex::new((Scores::new(age_max), Refused::default()));
        Arc::new(Incoming { state, arrived: Notify::new() })
    }

    /// Scores and refusals.
    pub fn lock(&self) -> MutexGuard<'_, (Scores, Refused)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the topic until shutdown.
    pub async fn follow(self: Arc<Self>, kafka: KafkaConfig, registry: LiveRegistry, shutdown: Shutdown) {
        let mut schemas = Schemas { registry, ours: None, last: None };
        let mut pauses = Pauses::default();
        // What was read before a failure is not news when it is read again.
        let mut seen = 0;
        loop {
            let read = async {
                let begin = Begin::Last(RECORDS_AT_START_MAX);
                let mut tail = Tail::open(&kafka, "scores", topics::SCORES, begin).await?;
                if tail.end() < seen {
                    seen = 0;
                }
                loop {
                    let message = tail.next().await?;
                    if message.offset() >= seen {
                        self.take(&message, &mut schemas).await;
                        seen = message.offset() + 1;
                    }
                }
            };
            let failed: Result<(), KafkaError> = tokio::select! {
                failed = read => failed,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = failed {
                tracing::warn!(topic = topics::SCORES, %error, "a topic can't be read; trying again");
            }
            if !pauses.wait(&shutdown).await {
                return;
            }
        }
    }

    async fn take(&self, message: &OwnedMessage, schemas: &mut Schemas) {
        let record = message.payload().unwrap_or_default();
        let read = match unframe(record) {
            Ok((schema, _)) if !schemas.is_ours(schema).await => Err(Refusal::Schema),
            Ok((_, body)) => Score::read(body).map_err(|_| Refusal::Form),
            Err(_) => Err(Refusal::Form),
        };
        let written_at = message.timestamp().to_millis().unwrap_or_default().saturating_mul(1_000);
        let (scores, refused) = &mut *self.lock();
        if let Err(why) = read.and_then(|score| scores.take(score, message.offset(), written_at)) {
            refused.add(why, message.offset());
        }
        self.arrived.notify_one();
    }
}

/// Which ids are those of the schema of scores.
struct Schemas {
    registry: LiveRegistry,
    ours: Option<u32>,
    /// The last one that is not.
    last: Option<u32>,
}

impl Schemas {
    async fn is_ours(&mut self, id: u32) -> bool {
        if self.ours == Some(id) || self.last == Some(id) {
            return self.ours == Some(id);
        }
        let text = self.registry.schema(id, SCHEMA_WAIT_MAX).await;
        let form = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let same = text.is_some_and(|text| form(&text) == form(SCHEMA));
        *(if same { &mut self.ours } else { &mut self.last }) = Some(id);
        same
    }
}
