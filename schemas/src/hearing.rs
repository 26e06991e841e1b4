//! Whether a client of Kafka still hears.
//!
//! librdkafka (2.12.1; also 2.13) forgets every broker that an answer about topics does not name, also where it names none:
//! so answers a broker that stood still for longer than its session, until it is let in again. Mostly the client begins
//! anew with the configured addresses. Where that is called off by the very same answer, it has nobody left to ask, and
//! stays so for ever, without a word. (Its repository, issue 5301.)

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;

use crate::topics;

/// A client that has heard nothing for so long is asked.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longer than the pause between two attempts to connect.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(4);

/// Whether a client is deaf: it gets no answer, before and after a new one got one. Where Kafka is away, neither does, and
/// waiting is right. `ask` asks through the client, for so long at most.
pub async fn is_deaf(
    kafka: &KafkaConfig,
    ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + 'static,
) -> bool {
    let config = topics::client(kafka, "hearing");
    let ask_anew = move |wait_max| config.create::<BaseConsumer>()?.fetch_metadata(Some(topics::PROGRESS), wait_max);
    !answers(ask.clone()).await && answers(ask_anew).await && !answers(ask).await
}

/// Returns once a client is deaf.
pub async fn until_deaf(
    kafka: &KafkaConfig,
    ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + 'static,
) {
    loop {
        tokio::time::sleep(SILENCE_MAX).await;
        if is_deaf(kafka, ask.clone()).await {
            return;
        }
    }
}

async fn answers(ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Send + 'static) -> bool {
    let asked = tokio::task::spawn_blocking(move || ask(ANSWER_WAIT_MAX)).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|metadata| !metadata.brokers().is_empty()))
}
