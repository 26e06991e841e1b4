//! Where the servers of a stack are found.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where each server of a stack listens. What the stack was not asked to start is empty here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The private folder, with a folder of data for each server and `logs/`.
    pub dir: PathBuf,
    /// Whether the folder goes with the stack.
    pub temporary: bool,
    /// PostgreSQL: `postgres://postgres@127.0.0.1:<port>/shop`, with the password where there is one.
    pub database_url: String,
    /// Its standby, in the same form.
    #[serde(default)]
    pub standby_url: String,
    /// The Kafka broker: `127.0.0.1:<port>`.
    pub kafka: String,
    /// Kafka's listener for SASL_SSL, where the stack is secured: `127.0.0.1:<port>`.
    #[serde(default)]
    pub kafka_secured: String,
    /// The authority that vouches for the servers of a secured stack (PEM).
    #[serde(default)]
    pub ca_file: PathBuf,
    /// The broker's listener for clients of a proxy: `127.0.0.1:<port>`.
    #[serde(default)]
    pub kafka_behind_proxy: String,
    /// L2: `redis://127.0.0.1:<port>/`. Empty where it is a cluster.
    pub l2: String,
    /// L2 as a cluster: the URL of each node, in the order of [`crate::Service::L2Node`]. Empty where it is one node.
    #[serde(default)]
    pub l2_nodes: Vec<String>,
    /// L1: the URL of each node, in the order of [`crate::Service::L1`].
    pub l1: Vec<String>,
    /// The edge: `http://127.0.0.1:<port>`.
    pub edge: String,
    /// Where the edge looks for the gateway, which is not part of the stack: `http://127.0.0.1:<port>`.
    pub gateway: String,
    /// The process of each server, by the service's name. A killed server has none.
    pub pids: BTreeMap<String, u32>,
}

impl Endpoints {
    /// The environment for the processes that use this stack, as lines for a shell.
    pub fn exports(&self) -> String {
        let (l2_urls, l1_urls) = (self.l2_nodes.join(","), self.l1.join(","));
        let gateway_listen = self.gateway.trim_start_matches("http://");
        let variables = [
            ("LOCKSTEP_DATABASE_URL", self.database_url.as_str()),
            ("LOCKSTEP_KAFKA_BROKERS", self.kafka.as_str()),
            ("LOCKSTEP_L2_URL", self.l2.as_str()),
            ("LOCKSTEP_L2_URLS", l2_urls.as_str()),
            ("LOCKSTEP_L1_URLS", l1_urls.as_str()),
            ("LOCKSTEP_EDGE_URL", self.edge.as_str()),
            ("LOCKSTEP_GATEWAY_LISTEN", gateway_listen),
        ];
        // Nothing here needs quotes: hosts, ports, and a password whose every other character is percent-encoded.
        let lines = variables.iter().filter(|(_, value)| !value.is_empty());
        lines.map(|(name, value)| format!("export {name}={value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoints;

    #[test]
    fn exports_name_what_was_started() {
        let endpoints = Endpoints {
            l1: vec!["redis://127.0.0.1:1/".into(), "redis://127.0.0.1:2/".into()],
            gateway: "http://127.0.0.1:3".into(),
            ..Endpoints::default()
        };
        let expected = "export LOCKSTEP_L1_URLS=redis://127.0.0.1:1/,redis://127.0.0.1:2/\n\
                        export LOCKSTEP_GATEWAY_LISTEN=127.0.0.1:3\n";
        assert_eq!(endpoints.exports(), expected);
    }
}
