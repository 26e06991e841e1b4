//! Publishing state, in topics of one partition: what was published is acknowledged before the call returns.

use std::sync::{Arc, Mutex, PoisonError};

use lockstep_process::config::KafkaConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{Producer as _, PurgeConfig};

use crate::hearing;
use crate::polled::{self, Answers, PolledProducer};
use crate::topics::{self, Topic};

/// A producer of state. A client that has gone deaf is replaced, and what it had not delivered is published again: twice is
/// as good as once, since of each key the newest record counts.
pub struct StatePublisher {
    kafka: KafkaConfig,
    id: &'static str,
    producer: Mutex<Arc<PolledProducer<Answers>>>,
}

impl StatePublisher {
    /// A publisher under a client id.
    pub fn open(kafka: &KafkaConfig, id: &'static str) -> Result<Self, KafkaError> {
        let producer = Mutex::new(open(kafka, id)?);
        Ok(StatePublisher { kafka: kafka.clone(), id, producer })
    }

    /// Publishes one record; waits for as long as Kafka is away.
    pub async fn publish(&self, topic: Topic, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        self.publish_all(topic, &[(key, value)]).await
    }

    /// Publishes records that are under way together: some thousand at most.
    pub async fn publish_all(
        &self,
        topic: Topic,
        records: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)],
    ) -> Result<(), KafkaError> {
        let name = topic.name(&self.kafka);
        loop {
            let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let (asked, progress) = (producer.client().clone(), topics::PROGRESS.name(&self.kafka));
            let ask = move |wait_max| asked.client().fetch_metadata(Some(&progress), wait_max);
            tokio::select! {
                sent = send(&producer, &name, records) => return sent,
                () = hearing::until_deaf(&self.kafka, ask) => {}
            }
            tracing::warn!(
                id = self.id,
                "Kafka's client has lost its brokers for good, though they answer; a new one publishes"
            );
            producer.client().purge(PurgeConfig::default().queue().inflight());
            *self.producer.lock().unwrap_or_else(PoisonError::into_inner) = open(&self.kafka, self.id)?;
        }
    }
}

impl Drop for StatePublisher {
    /// Whoever still asks through the producer would keep it, and what it has to send, alive.
    fn drop(&mut self) {
        let producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        producer.client().purge(PurgeConfig::default().queue().inflight());
    }
}

fn open(kafka: &KafkaConfig, id: &str) -> Result<Arc<PolledProducer<Answers>>, KafkaError> {
    Ok(Arc::new(PolledProducer::open(&topics::producer(kafka, id), Answers)?))
}

async fn send(
    producer: &PolledProducer<Answers>,
    topic: &str,
    records: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)],
) -> Result<(), KafkaError> {
    let mut sent = Vec::with_capacity(records.len());
    for (key, value) in records {
        sent.push(polled::send(producer.client(), topic, key.as_ref(), Some(value.as_ref()))?);
    }
    for answer in sent {
        polled::answered(answer).await?;
    }
    Ok(())
}
