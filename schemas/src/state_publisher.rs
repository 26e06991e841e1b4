//! Publishing state, in topics of one partition: what was published is acknowledged before the call returns.

use std::sync::{Mutex, PoisonError};

use lockstep_process::config::KafkaConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};

use crate::{hearing, topics};

/// A producer of state. A client that has gone deaf is replaced, and what it had not delivered is published again: twice is
/// as good as once, since of each key the newest record counts.
pub struct StatePublisher {
    kafka: KafkaConfig,
    id: &'static str,
    producer: Mutex<FutureProducer>,
}

impl StatePublisher {
    /// A publisher under a client id.
    pub fn open(kafka: &KafkaConfig, id: &'static str) -> Result<Self, KafkaError> {
        let producer = Mutex::new(topics::producer(kafka, id).create()?);
        Ok(StatePublisher { kafka: kafka.clone(), id, producer })
    }

    /// Publishes one record; waits for as long as Kafka is away.
    pub async fn publish(&self, topic: &str, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        self.publish_all(topic, &[(key, value)]).await
    }

    /// Publishes records that are under way together: some thousand at most.
    pub async fn publish_all(
        &self,
        topic: &str,
        records: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)],
    ) -> Result<(), KafkaError> {
        loop {
            let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let asked = producer.clone();
            let ask = move |wait_max| asked.client().fetch_metadata(Some(topics::PROGRESS), wait_max);
            tokio::select! {
                sent = send(&producer, topic, records) => return sent,
                () = hearing::until_deaf(&self.kafka, ask) => {}
            }
            tracing::warn!(
                id = self.id,
                "Kafka's client has lost its brokers for good, though they answer; a new one publishes"
            );
            producer.purge(PurgeConfig::default().queue().inflight());
            *self.producer.lock().unwrap_or_else(PoisonError::into_inner) =
                topics::producer(&self.kafka, self.id).create()?;
        }
    }
}

impl Drop for StatePublisher {
    /// Whoever still asks through the producer would keep it, and what it has to send, alive.
    fn drop(&mut self) {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).purge(PurgeConfig::default().queue().inflight());
    }
}

async fn send(
    producer: &FutureProducer,
    topic: &str,
    records: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)],
) -> Result<(), KafkaError> {
    let mut sent = Vec::with_capacity(records.len());
    for (key, value) in records {
        let record = FutureRecord::to(topic).partition(0).key(key.as_ref()).payload(value.as_ref());
        sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for delivery in sent {
        delivery.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
    }
    Ok(())
}
