//! A secured stack lets in whoever encrypts, trusts its authority and knows the password; nobody else.

use std::thread;
use std::time::Duration;

use lockstep_stack::{Endpoints, Secured, Services, Stack, StackOptions};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::{psql, start};

const PASSWORD: &str = "it's /secret";
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// For what is refused: a client of Kafka's tries again until its time is over.
const REFUSAL_LIMIT: Duration = Duration::from_secs(2);

fn secured(services: Services, names: &[&str]) -> Stack {
    let names = names.iter().map(|&name| name.to_owned()).collect();
    let kafka_password = "tr0ub4dor/&3".to_owned();
    let secured = Some(Secured { names, kafka_password, ..Secured::default() });
    start(StackOptions { services, postgres_password: Some(PASSWORD.into()), secured, ..StackOptions::default() })
}

#[test]
fn postgres_is_reached_by_tls_only() {
    let services = Services { postgres: true, ..Services::NONE };
    let (stack, other) = (secured(services, &["localhost", "127.0.0.1"]), secured(services, &["db.example"]));
    let url = |endpoints: &Endpoints, mode: &str, authority: &Endpoints| {
        format!("{}?sslmode={mode}&sslrootcert={}", endpoints.database_url, authority.ca_file.display())
    };
    let (ours, theirs) = (stack.endpoints(), other.endpoints());
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&url(ours, "verify-full", ours), encrypted), Ok("t".into()));
    let localhost = url(ours, "verify-full", ours).replace("@127.0.0.1:", "@localhost:");
    assert_eq!(psql(&localhost, encrypted), Ok("t".into()));
    assert_eq!(psql(&url(theirs, "verify-ca", theirs), encrypted), Ok("t".into()));

    let refused = |url: &str, why: &str| {
        let said = psql(url, "SELECT 1").expect_err("a refusal");
        assert!(said.contains(why), "{said}");
    };
    refused(&url(ours, "verify-ca", theirs), "certificate verify failed");
    refused(&url(theirs, "verify-full", theirs), "does not match host name");
    refused(&url(ours, "disable", ours), "no encryption");
    refused(&url(ours, "verify-full", ours).replace("%2Fsecret", "guessed"), "password authentication failed");
}

/// Who a client of the broker is.
struct Client<'a> {
    protocol: &'a str,
    mechanism: &'a str,
    password: &'a str,
    authority: &'a Endpoints,
}

impl Client<'_> {
    fn brokers(&self, address: &str, limit: Duration) -> Option<usize> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("security.protocol", self.protocol);
        config.set("ssl.ca.location", self.authority.ca_file.display().to_string());
        config.set("sasl.mechanism", self.mechanism).set("sasl.username", "lockstep");
        config.set("sasl.password", self.password);
        let client: BaseConsumer = config.create().expect("a client");
        client.fetch_metadata(None, limit).ok().map(|metadata| metadata.brokers().len())
    }
}

#[test]
fn kafka_asks_who_its_clients_are() {
    let services = Services { kafka: true, ..Services::NONE };
    let stack = secured(services, &["localhost", "127.0.0.1"]);
    let other = secured(Services::NONE, &["localhost", "127.0.0.1"]);
    let (ours, theirs) = (stack.endpoints(), other.endpoints());
    let client = |protocol, mechanism, password, authority| Client { protocol, mechanism, password, authority };
    let (right, wrong) = ("tr0ub4dor/&3", "tr0ub4dor/&4");
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let brokers = client("sasl_ssl", mechanism, right, ours).brokers(&ours.kafka_secured, ANSWER_LIMIT);
        assert_eq!(brokers, Some(1), "{mechanism}");
    }
    let refused = [
        client("sasl_ssl", "SCRAM-SHA-512", wrong, ours),
        client("sasl_ssl", "SCRAM-SHA-256", wrong, ours),
        client("sasl_ssl", "PLAIN", wrong, ours),
        client("sasl_ssl", "PLAIN", right, theirs),
        client("sasl_plaintext", "PLAIN", right, ours),
        client("ssl", "PLAIN", right, ours),
        client("plaintext", "PLAIN", right, ours),
    ];
    thread::scope(|scope| {
        for client in &refused {
            scope.spawn(|| {
                let brokers = client.brokers(&ours.kafka_secured, REFUSAL_LIMIT);
                assert_eq!(brokers, None, "{} {}", client.protocol, client.mechanism);
            });
        }
    });
    assert_eq!(client("plaintext", "PLAIN", "", ours).brokers(&ours.kafka, ANSWER_LIMIT), Some(1));
}
