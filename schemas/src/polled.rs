//! A producer, and the thread that serves what it reports.
//!
//! The client's own polls ten times a second, and each time spins through the last millisecond, since its waits are whole
//! ones: a percent of a core for each producer that has nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, ProducerContext};
use tokio::sync::oneshot;

/// Reports end a wait; beyond it the thread only looks whether it is still needed: soon at first, and at last this seldom.
const POLL_WAIT_MIN: Duration = Duration::from_secs(5);
const POLL_WAIT_MAX: Duration = Duration::from_secs(60);

/// A producer whose reports are served for as long as it lives.
///
/// Its client lives for some seconds longer, or about as long as it has lived, a minute at most: who drops it flushes it,
/// or purges it.
pub struct PolledProducer<C: ProducerContext + 'static> {
    producer: Arc<BaseProducer<C>>,
    is_over: Arc<AtomicBool>,
}

impl<C: ProducerContext + 'static> PolledProducer<C> {
    /// A client of this configuration; `context` hears of each record what became of it.
    pub fn open(config: &ClientConfig, context: C) -> Result<Self, KafkaError> {
        let producer = Arc::new(BaseProducer::from_config_and_context(config, context)?);
        let is_over = Arc::new(AtomicBool::new(false));
        let (polled, ends) = (producer.clone(), is_over.clone());
        let serve = move || {
            let mut wait = POLL_WAIT_MIN;
            while !ends.load(Ordering::Acquire) {
                polled.poll(wait);
                wait = (wait * 2).min(POLL_WAIT_MAX);
            }
        };
        let spawned = thread::Builder::new().name("producer".to_owned()).spawn(serve);
        spawned.map_err(|error| KafkaError::ClientCreation(format!("a thread for a producer: {error}")))?;
        Ok(PolledProducer { producer, is_over })
    }

    /// The client itself.
    pub fn client(&self) -> &Arc<BaseProducer<C>> {
        &self.producer
    }
}

impl<C: ProducerContext + 'static> Drop for PolledProducer<C> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// Tells whoever sent a record what became of it.
pub struct Answers;

/// What became of a record, once that is known.
pub type Answer = oneshot::Receiver<Result<(), KafkaError>>;

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<oneshot::Sender<Result<(), KafkaError>>>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        // Who no longer waits needs no answer.
        let _ = sender.send(delivered.as_ref().map(drop).map_err(|(error, _)| error.clone()));
    }
}

/// Sends a record to partition 0 of a topic; without a value it is a tombstone.
pub fn send(
    producer: &BaseProducer<Answers>,
    topic: &str,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Answer, KafkaError> {
    let (sender, answer) = oneshot::channel();
    let record = BaseRecord::with_opaque_to(topic, Box::new(sender)).partition(0).key(key);
    let record = if let Some(value) = value { record.payload(value) } else { record };
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(answer)
}

/// Waits for an answer.
pub async fn answered(answer: Answer) -> Result<(), KafkaError> {
    answer.await.unwrap_or(Err(KafkaError::Canceled))
}
