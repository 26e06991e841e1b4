//! Scores as they come: read, checked, taken in or refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
use crate::told::Told;

/// Several forecasts of a large shop; what was published before them is out of date.
const RECORDS_AT_START_MAX: i64 = 200_000;
/// A schema is registered before the records that need it; it is only late.
const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(5);
/// Where one was waited for in vain, none is waited for again before so long: a model that frames its records in another way
/// names as many ids as it writes records.
const NO_WAIT: Duration = Duration::from_secs(60);
/// Ids that are remembered; of more, all are looked up anew.
const IDS_MAX: usize = 1_000;

/// What has come so far, shared with whoever chooses.
pub(crate) struct Incoming {
    state: Mutex<(Scores, Refused)>,
    pub told: Told,
    /// Rung at each record, once all have been read that stood there at the opening.
    pub arrived: Notify,
}

impl Incoming {
    /// Nothing yet; scores older than `age_max` microseconds will not count.
    pub fn new(age_max: i64, told: Told) -> Arc<Self> {
        let state = Mutex::new((Scores::new(age_max), Refused::default()));
        Arc::new(Incoming { state, told, arrived: Notify::new() })
    }

    /// Scores and refusals.
    pub fn lock(&self) -> MutexGuard<'_, (Scores, Refused)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the topic until shutdown.
    pub async fn follow(self: Arc<Self>, kafka: KafkaConfig, registry: LiveRegistry, shutdown: Shutdown) {
        let mut schemas = Schemas { registry, known: HashMap::new(), in_vain: None };
        let mut pauses = Pauses::default();
        // What was read before a failure is not news when it is read again.
        let (mut seen, mut told) = (0, None);
        loop {
            let read = async {
                let before = match told {
                    Some(before) => before,
                    None => *told.insert(self.told.before().await?),
                };
                let begin = Begin::Last(RECORDS_AT_START_MAX);
                let mut tail = Tail::open(&kafka, "scores", topics::SCORES, begin).await?;
                if tail.end() < seen {
                    seen = 0;
                }
                // Where the topic is another one, nothing of it has been told.
                self.lock().1.told_before(if tail.end() < before { 0 } else { before });
                // What stood there at the opening is one set: nothing is chosen from a half of it.
                while let Some(message) = tail.next_before_end().await? {
                    self.take_new(&message, &mut schemas, &mut seen).await;
                }
                self.arrived.notify_one();
                loop {
                    let message = tail.next_heard(&kafka).await?;
                    self.take_new(&message, &mut schemas, &mut seen).await;
                    self.arrived.notify_one();
                }
            };
            let failed: Result<(), KafkaError> = tokio::select! {
                failed = read => failed,
                () = shutdown.cancelled() => return,
            };
            if let Err(error) = failed {
                tracing::warn!(topic = topics::SCORES.base_name(), %error, "a topic can't be read; trying again");
            }
            if !pauses.wait(&shutdown).await {
                return;
            }
        }
    }

    /// Takes a record in that has not been read before, by an earlier connection.
    async fn take_new(&self, message: &OwnedMessage, schemas: &mut Schemas, seen: &mut i64) {
        if message.offset() >= *seen {
            self.take(message, schemas).await;
            *seen = message.offset() + 1;
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
        refused.read(message.offset());
        if let Err(why) = read.and_then(|score| scores.take(score, message.offset(), written_at)) {
            refused.add(why, message.offset());
        }
    }
}

/// Which ids are those of the schema of scores.
struct Schemas {
    registry: LiveRegistry,
    /// Of ids that are registered.
    known: HashMap<u32, bool>,
    /// When one that is not was last waited for.
    in_vain: Option<Instant>,
}

impl Schemas {
    async fn is_ours(&mut self, id: u32) -> bool {
        if let Some(is_ours) = self.known.get(&id) {
            return *is_ours;
        }
        let wait_max = wait_max(self.in_vain.map(|at| at.elapsed()));
        let Some(text) = self.registry.schema(id, wait_max).await else {
            if !wait_max.is_zero() {
                self.in_vain = Some(Instant::now());
            }
            return false;
        };
        let form = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        let is_ours = form(&text) == form(SCHEMA);
        if self.known.len() >= IDS_MAX {
            self.known.clear();
        }
        self.known.insert(id, is_ours);
        is_ours
    }
}

/// How long to wait for a schema that is not there, one having been waited for in vain so long ago.
fn wait_max(in_vain: Option<Duration>) -> Duration {
    if in_vain.is_some_and(|ago| ago < NO_WAIT) { Duration::ZERO } else { SCHEMA_WAIT_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_schemas_that_are_not_there_one_is_waited_for() {
        assert_eq!(wait_max(None), SCHEMA_WAIT_MAX);
        assert_eq!(wait_max(Some(NO_WAIT)), SCHEMA_WAIT_MAX);
        assert_eq!(wait_max(Some(NO_WAIT - Duration::from_nanos(1))), Duration::ZERO);
    }
}
