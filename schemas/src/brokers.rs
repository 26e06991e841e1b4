//! Asking the brokers which topics there are, and saying why they did not answer.
//!
//! The client library tries again until a question's time is over, and then answers "broker transport failure" whatever
//! the cause was; the cause is only in what it logs meanwhile. So that is listened to here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockstep_process::Failure;
use lockstep_process::config::KafkaConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

use crate::topics;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// After so long it is asked whether waiting is of any use.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How many partitions each topic has that we may see.
pub async fn partition_counts(kafka: &KafkaConfig, id: &str) -> Result<BTreeMap<String, usize>, Failure> {
    let (mut config, kafka) = (topics::client(kafka, id), kafka.clone());
    // A broker that hangs up is no error to the library.
    config.set_log_level(RDKafkaLogLevel::Info);
    let ask = move || {
        let heard = Heard::default();
        let client: BaseConsumer<Heard> = config.create_with_context(heard.clone()).map_err(|error| {
            Failure::configuration("Kafka's client refuses its settings")
                .because(error)
                .remedy("check the [kafka] section, and that ca_file is there and holds certificates (PEM)")
        })?;
        ask(&client, &heard).map_err(|error| explain(&kafka, &heard.reason(), error))
    };
    tokio::task::spawn_blocking(ask).await.map_err(Failure::internal)?
}

fn ask(client: &BaseConsumer<Heard>, heard: &Heard) -> KafkaResult<BTreeMap<String, usize>> {
    let deadline = Instant::now() + ANSWER_WAIT_MAX;
    loop {
        let asked = client.fetch_metadata(None, LOOK_INTERVAL);
        heard.listen(client);
        match asked {
            Ok(metadata) => {
                let topics = metadata.topics().iter();
                return Ok(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect());
            }
            Err(error) if Instant::now() >= deadline || Cause::of(&heard.reason()).is_final() => return Err(error),
            Err(_) => {}
        }
    }
}

/// What went wrong on the way to a broker, in the client library's words.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    lines: usize,
    /// The last one that says why a connection failed.
    reason: String,
}

impl Heard {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reason(&self) -> String {
        self.said().reason.clone()
    }

    /// Takes what the library has to say: one thing a poll.
    fn listen(&self, client: &BaseConsumer<Heard>) {
        loop {
            let before = self.said().lines;
            if client.poll(Duration::ZERO).is_none() && self.said().lines == before {
                return;
            }
        }
    }
}

impl ClientContext for Heard {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
        let mut said = self.said();
        said.lines += 1;
        if facility == "FAIL" {
            // `[thrd:name]: broker: what happened (after 3ms in state X)`; the thread is of no use to anybody.
            message.split_once("]: ").map_or(message, |(_, what)| what).clone_into(&mut said.reason);
        }
    }

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ConsumerContext for Heard {}

/// Why a broker did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It does not know us.
    Refused,
    /// It knows us by other mechanisms only.
    Mechanism,
    /// Its certificate is not vouched for, or is another host's.
    Certificate,
    /// We encrypt, and it does not: it hangs up on our first word. librdkafka says so in one of two ways, by how the
    /// hanging up reaches it.
    NoTls,
    /// It hangs up without a word: mostly on who does not encrypt, or has no user. A broker that goes away does that too.
    HangsUp,
    /// Anything else.
    Away,
}

impl Cause {
    fn of(reason: &str) -> Self {
        let says = |text| reason.contains(text);
        let hung_up = says("Disconnected");
        if says("mechanism handshake failed") {
            Cause::Mechanism
        } else if says("SASL authentication error") {
            Cause::Refused
        } else if says("certificate verify failed") {
            Cause::Certificate
        } else if says("connecting to a PLAINTEXT broker listener") || hung_up && says("in state SSL_HANDSHAKE") {
            Cause::NoTls
        } else if hung_up {
            Cause::HangsUp
        } else {
            Cause::Away
        }
    }

    /// Whether the same question will have the same answer until somebody mends something.
    fn is_final(self) -> bool {
        matches!(self, Cause::Refused | Cause::Mechanism | Cause::Certificate)
    }
}

fn explain(kafka: &KafkaConfig, reason: &str, error: KafkaError) -> Failure {
    let brokers = &kafka.brokers;
    let (failure, remedy) = match Cause::of(reason) {
        Cause::Refused => (
            Failure::configuration(format!("Kafka at {brokers} refuses our user or password")),
            "check [kafka] user, and password_file or LOCKSTEP_KAFKA_PASSWORD",
        ),
        Cause::Mechanism => (
            Failure::configuration(format!("Kafka at {brokers} does not know our [kafka] sasl")),
            "set [kafka] sasl to one that the brokers' listener has enabled",
        ),
        Cause::Certificate => (
            Failure::configuration(format!("Kafka at {brokers} shows a certificate that we don't trust")),
            "set [kafka] ca_file to the authority that signed it, and name the brokers as the certificate does",
        ),
        Cause::NoTls => (
            Failure::configuration(format!("Kafka at {brokers} does not encrypt")),
            "name its listener for TLS, or take [kafka] tls away",
        ),
        Cause::HangsUp if !kafka.tls => (
            Failure::configuration(format!("Kafka at {brokers} hangs up on us, who don't encrypt")),
            "set [kafka] tls = true where that listener is one for TLS; else see what the broker says",
        ),
        Cause::HangsUp if kafka.sasl.is_none() => (
            Failure::configuration(format!("Kafka at {brokers} hangs up on us, who have no user")),
            "set [kafka] sasl, user and password where that listener asks for them; else see what the broker says",
        ),
        Cause::HangsUp | Cause::Away => (
            Failure::unavailable(format!("can't reach Kafka at {brokers}")),
            "check that a broker runs there and that LOCKSTEP_KAFKA_BROKERS is right",
        ),
    };
    let failure = if reason.is_empty() { failure.because(error) } else { failure.because(reason) };
    failure.remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka 2.12 has them.
    #[test]
    fn causes_are_told_apart() {
        let check = |reason: &str, cause: Cause| assert_eq!(Cause::of(reason), cause, "{reason}");
        check("SASL authentication error: Authentication failed (after 3ms in state AUTH_REQ)", Cause::Refused);
        check("SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: x", Cause::Certificate);
        check("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", Cause::NoTls);
        check("Disconnected: SSL connection closed by peer (after 1ms in state SSL_HANDSHAKE)", Cause::NoTls);
        check("Disconnected: SSL connection closed by peer (after 9ms in state UP)", Cause::HangsUp);
        check("SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism", Cause::Mechanism);
        check("Disconnected: connection closed by peer (after 1ms in state APIVERSION_QUERY)", Cause::HangsUp);
        check("Connect to ipv4#127.0.0.1:1 failed: Connection refused", Cause::Away);
        check("", Cause::Away);
    }
}
