//! How Kafka is reached.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::secret;
use crate::Failure;

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
    replication: Option<i32>,
    tls: bool,
    ca_file: Option<PathBuf>,
    sasl: Option<SaslMechanism>,
    user: Option<String>,
    password_file: Option<PathBuf>,
}

impl KafkaSection {
    /// Checks it; `None` where no broker is named.
    pub fn build(self, brokers: Option<String>) -> Result<Option<KafkaConfig>, Failure> {
        let Some(brokers) = brokers.or(self.brokers) else { return Ok(None) };
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
        let replication = self.replication.unwrap_or(-1);
        Ok(Some(KafkaConfig { brokers, replication, tls: self.tls, ca_file: self.ca_file, sasl }))
    }
}
