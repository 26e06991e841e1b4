//! Where the demo's servers are.

use crate::demo::PARTITIONS;
use crate::demo::lockstep::Lockstep;
use anyhow::{Context, Result};
use lockstep_stack::Endpoints;
use std::path::PathBuf;
use std::time::Duration;

/// No page may take longer.
const READ_MAX: Duration = Duration::from_secs(5);

/// The addresses of everything that the demo talks to.
#[derive(Debug, Clone)]
pub struct Servers {
    /// PostgreSQL.
    pub database_url: String,
    /// Kafka's bootstrap servers.
    pub kafka: String,
    /// Redis, single node; empty where L2 is a cluster.
    pub l2_url: String,
    /// All nodes of L2 where it is a cluster.
    pub l2_nodes: Vec<String>,
    /// Redis Cluster, all nodes.
    pub l1_urls: Vec<String>,
    /// Varnish.
    pub edge_url: String,
    /// The gateway, once its role runs.
    pub gateway_url: String,
    /// The same for processes, as variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Where the servers keep their files; it goes with them.
    pub folder: PathBuf,
}

impl Servers {
    /// Those of a stack.
    pub fn of(endpoints: &Endpoints) -> Self {
        let exports = endpoints.exports();
        let mut environment: Vec<(String, String)> = exports.lines().filter_map(variable).collect();
        environment.push(("LOCKSTEP_PARTITIONS".to_owned(), PARTITIONS.to_string()));
        Self {
            database_url: endpoints.database_url.clone(),
            kafka: endpoints.kafka.clone(),
            l2_url: endpoints.l2.clone(),
            l2_nodes: endpoints.l2_nodes.clone(),
            l1_urls: endpoints.l1.clone(),
            edge_url: endpoints.edge.clone(),
            gateway_url: endpoints.gateway.clone(),
            environment,
            folder: endpoints.dir.clone(),
        }
    }

    /// This very program, pointed at these servers.
    pub fn lockstep(&self) -> Result<Lockstep> {
        let executable = std::env::current_exe().context("find the running executable")?;
        Ok(Lockstep { executable, environment: self.environment.clone(), folder: self.folder.clone() })
    }
}

/// The name and the value in `export NAME=value`.
fn variable(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

/// A client that keeps its connections, for all who read over HTTP.
pub fn http_client() -> Result<reqwest::Client> {
    reqwest::Client::builder().timeout(READ_MAX).no_proxy().build().context("make an HTTP client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_what_a_shell_would_have() {
        let endpoints = Endpoints {
            kafka: "127.0.0.1:1".to_owned(),
            gateway: "http://127.0.0.1:2".to_owned(),
            ..Endpoints::default()
        };
        let environment = Servers::of(&endpoints).environment;
        let value = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(value("LOCKSTEP_KAFKA_BROKERS"), Some("127.0.0.1:1"));
        assert_eq!(value("LOCKSTEP_GATEWAY_LISTEN"), Some("127.0.0.1:2"));
        assert_eq!(value("LOCKSTEP_PARTITIONS"), Some("16"));
    }
}
