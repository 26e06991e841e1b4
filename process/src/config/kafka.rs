//! How Kafka is reached.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::secret;
use crate::Failure;

const TOPIC_PREFIX_DEFAULT: &str = "lockstep";
/// A topic's name has 249 bytes at most, and a group's name is a part of it.
const TOPIC_PREFIX_BYTES_MAX: usize = 64;

/// How we prove who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    /// Name and password as they are: over TLS only.
    #[serde(rename = "plain")]
    Plain,
    /// SCRAM with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// SCRAM with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Who we are for Kafka.
#[derive(Clone, Debug)]
pub struct SaslConfig {
    /// How we prove it.
    pub mechanism: SaslMechanism,
    /// Our name.
    pub user: String,
    /// Our password; never printed.
    pub password: SecretString,
}

/// Kafka.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Bootstrap servers.
    pub brokers: String,
    /// What the names of our own topics, consumer groups, clients and transactions begin with.
    pub topic_prefix: String,
    /// Replicas of each topic that we create; -1: the broker's default.
    pub replication: i32,
    /// Whether the connection is encrypted, and the brokers' certificates are checked.
    pub tls: bool,
    /// Roots that vouch for the brokers; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// Who we are, where Kafka asks.
    pub sasl: Option<SaslConfig>,
}

/// The file's section.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KafkaSection {
    brokers: Option<String>,
    topic_prefix: Option<String>,
    replication: Option<i32>,
    tls: bool,
    ca_file: Option<PathBuf>,
    sasl: Option<SaslMechanism>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

impl KafkaSection {
    /// Checks it. Where no broker is named, what is left tells what topics are called.
    pub fn build(self, brokers: Option<String>) -> Result<KafkaConfig, Failure> {
        let topic_prefix = self.topic_prefix.unwrap_or_else(|| TOPIC_PREFIX_DEFAULT.to_owned());
        if !can_begin_a_name(&topic_prefix) {
            return Err(Failure::configuration(format!("[kafka] topic_prefix = {topic_prefix:?} can't begin a topic's name"))
                .remedy(format!(
                    "use letters, digits, '_', '-' and '.' between them, {TOPIC_PREFIX_BYTES_MAX} at most, like \"lockstep\""
                )));
        }
        let replication = self.replication.unwrap_or(-1);
        let brokers = brokers.or(self.brokers).unwrap_or_default();
        if brokers.is_empty() {
            return Ok(KafkaConfig { brokers, topic_prefix, replication, tls: false, ca_file: None, sasl: None });
        }
        let password = secret::read("LOCKSTEP_KAFKA_PASSWORD", self.password_file.as_deref())?;
        let sasl = match (self.sasl, self.user, password) {
            (None, _, _) => None,
            (Some(mechanism), Some(user), Some(password)) => Some(SaslConfig { mechanism, user, password }),
            _ => {
                return Err(Failure::configuration("[kafka] sasl needs a user and a password")
                    .remedy("set [kafka] user, and password_file or LOCKSTEP_KAFKA_PASSWORD"));
            }
        };
        if sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain) && !self.tls {
            return Err(Failure::configuration("[kafka] sasl = \"plain\" without tls sends the password in the clear")
                .remedy("set [kafka] tls = true, or use scram-sha-256"));
        }
        Ok(KafkaConfig { brokers, topic_prefix, replication, tls: self.tls, ca_file: self.ca_file, sasl })
    }
}

/// Whether Kafka takes names of the form `<prefix>.<name>`.
fn can_begin_a_name(prefix: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    prefix.len() <= TOPIC_PREFIX_BYTES_MAX && prefix.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_begins_a_topics_name() {
        for fits in ["lockstep", "shop.lockstep_2", "A-1"] {
            assert!(can_begin_a_name(fits), "{fits}");
        }
        for other in ["", ".", "a.", ".a", "a..b", "a b", "ä", &"a".repeat(65)] {
            assert!(!can_begin_a_name(other), "{other}");
        }
    }
}
