//! To Kafka's client, and what comes back of it: reports, progress, checkpoints.

use std::sync::Arc;
use std::time::Instant;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::{STALLED_AFTER, Stream, StreamError};
use crate::publisher::{Delivery, Purpose, Record};

impl Stream {
    /// Hands a record to the client; where its queue is full, waits for reports: that is the back-pressure.
    pub(super) async fn publish(&mut self, record: &Record<'_>) -> Result<(), StreamError> {
        if let Purpose::Change { transaction, .. } | Purpose::Word { transaction } = record.purpose {
            self.ledger.sent(transaction);
        }
        loop {
            match self.publisher.send(record) {
                Ok(true) => return Ok(()),
                Ok(false) => self.report().await?,
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                    let bytes = [record.key, record.value].into_iter().flatten().map(<[u8]>::len).sum();
                    return Err(StreamError::TooLarge { topic: record.topic.to_owned(), bytes });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) async fn report(&mut self) -> Result<(), StreamError> {
        loop {
            match tokio::time::timeout(STALLED_AFTER, self.reports.recv()).await {
                Ok(delivery) => return self.delivered(delivery.ok_or(StreamError::ClientEnded)?),
                Err(_) => self.broker.look(true),
            }
        }
    }

    pub(super) fn take_reports(&mut self) -> Result<(), StreamError> {
        while let Ok(delivery) = self.reports.try_recv() {
            self.delivered(delivery)?;
        }
        Ok(())
    }

    pub(super) fn delivered(&mut self, delivery: Delivery) -> Result<(), StreamError> {
        self.broker.reports += 1;
        let (partition, offset) = delivery.place?;
        if let Purpose::Word { transaction } = delivery.purpose {
            self.ledger.acknowledged(transaction);
        }
        if let Purpose::Checkpoint(confirmed) = delivery.purpose {
            self.saved = self.saved.max(confirmed);
        }
        if let Purpose::Change { transaction, group } = delivery.purpose {
            if !self.progress.acknowledged(group, partition, offset) {
                return Err(StreamError::MadeAnew);
            }
            self.ledger.acknowledged(transaction);
        }
        Ok(())
    }

    pub(super) async fn say_progress(&mut self) -> Result<(), StreamError> {
        let due = self.progress.due(self.ledger.confirmed(), self.ledger.is_settled(), Instant::now());
        let Some(progress) = due else { return Ok(()) };
        let (topic, value) = (Arc::clone(&self.topics.progress), progress.to_json());
        let record = Record {
            topic: &topic,
            partition: 0,
            key: None,
            value: Some(&value),
            headers: &[],
            purpose: Purpose::State,
        };
        self.publish(&record).await
    }

    /// Sends the checkpoint on its way. PostgreSQL hears of it once Kafka has it: so a slot that is past its checkpoint is a
    /// gap. Nothing waits here: a wait for the broker, twice a second, would be one for every change behind it.
    pub(super) async fn save(&mut self) -> Result<(), StreamError> {
        let (confirmed, at) = self.ledger.confirmed();
        if confirmed <= self.checkpoint.confirmed {
            return Ok(());
        }
        (self.checkpoint.confirmed, self.checkpoint.next) = (confirmed, self.progress.next());
        self.checkpoint.members.clone_from(&self.members.borrow());
        self.checkpoint.snapshots = self.snapshots.confirmed(confirmed).clone();
        for (_, table, schema) in self.announcing.extract_if(.., |(end, _, _)| *end <= confirmed) {
            self.checkpoint.announced.insert(table, schema);
        }
        self.metrics.confirmed_at.set(at / 1_000_000);
        let (key, value) = (self.checkpoint_key.clone(), self.checkpoint.to_json());
        self.state(&key, Some(&value), Purpose::Checkpoint(confirmed)).await?;
        for key in std::mem::take(&mut self.outdated) {
            self.state(&key, None, Purpose::State).await?;
        }
        Ok(())
    }

    /// Returns once a checkpoint of all that is confirmed is in Kafka.
    pub async fn save_now(&mut self) -> Result<(), StreamError> {
        self.save().await?;
        while self.saved < self.checkpoint.confirmed {
            self.report().await?;
        }
        Ok(())
    }

    async fn state(&mut self, key: &[u8], value: Option<&[u8]>, purpose: Purpose) -> Result<(), StreamError> {
        let topic = Arc::clone(&self.topics.checkpoint);
        let record = Record { topic: &topic, partition: 0, key: Some(key), value, headers: &[], purpose };
        self.publish(&record).await
    }
}
