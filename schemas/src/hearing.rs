//! Whether a client of Kafka still hears.
//!
//! librdkafka (2.12.1; also 2.13) forgets every broker that an answer about topics does not name, also where it names none:
//! so answers a broker that stood still for longer than its session, until it is let in again. Mostly the client begins
//! anew with the configured addresses. Where that is called off by the very same answer, it has nobody left to ask, and
//! stays so for ever, without a word. (Its repository, issue 5301.)

use std::time::Duration;

use lockstep_process::config::KafkaConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use crate::topics;

/// A client is asked this often, where nothing else shows that it hears.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longer than the pause between two attempts to connect.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(4);

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Answer,
    /// The client had no broker to ask.
    NoBroker,
    /// A broker that it is connected to has not answered yet: it may be busy with what was asked before.
    NotYet,
}

/// Whether a client is deaf: it has nobody to ask, before and after a new one got an answer. Where Kafka is away, neither
/// gets one, and waiting is right. `ask` asks through the client, for so long at most.
pub async fn is_deaf(
    kafka: &KafkaConfig,
    ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + 'static,
) -> bool {
    let (config, progress) = (topics::client(kafka, "hearing"), topics::PROGRESS.name(kafka));
    let ask_anew = move |wait_max| config.create::<BaseConsumer>()?.fetch_metadata(Some(&progress), wait_max);
    heard(ask.clone()).await == Heard::NoBroker
        && heard(ask_anew).await == Heard::Answer
        && heard(ask).await == Heard::NoBroker
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

/// librdkafka says `_TRANSPORT` where no broker came up within the time, `_TIMED_OUT` where one did and did not answer.
async fn heard(ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Send + 'static) -> Heard {
    let asked = tokio::task::spawn_blocking(move || ask(ANSWER_WAIT_MAX)).await;
    match asked {
        Ok(Ok(metadata)) if metadata.brokers().is_empty() => Heard::NoBroker,
        Ok(Ok(_)) => Heard::Answer,
        Ok(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::BrokerTransportFailure) => {
            Heard::NoBroker
        }
        Ok(Err(_)) | Err(_) => Heard::NotYet,
    }
}
