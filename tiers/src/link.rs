//! The way to a tier: one node or a cluster, with our own time-outs around the client.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::Url;
use lockstep_schemas::partition::slot_of;
use lockstep_schemas::policy::TierName;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{Client, Cmd, RedisError, Value};

use crate::{TierError, library};

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
/// A node that takes longer is away. The client's own default (500 ms) is too short for a burst of large calls.
pub(crate) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// The cluster client follows redirections by itself; a call sent twice is harmless (docs/protocol.md, "Sent again").
const REDIRECTIONS_MAX: u32 = 3;
/// It sends again what a slot on the move answers with TRYAGAIN, and waits before; by default for longer than an answer
/// may take, and then a tier would be called silent that has answered.
const RETRY_WAIT_MS: [u64; 2] = [50, 250];
/// How often one call loads the library: once, unless somebody flushes it, or its slot moves, at that very moment.
const LOADS_MAX: u32 = 5;

/// The way to a tier. Clones share its connections, and what was learnt of its servers.
#[derive(Clone)]
pub(crate) struct Link {
    servers: Servers,
    /// A server has refused functions: from now on calls go as scripts.
    by_script: Arc<AtomicBool>,
}

#[derive(Clone)]
enum Servers {
    Node(ConnectionManager),
    Cluster(ClusterConnection),
}

/// A server that takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Primary {
    /// The only one.
    Only,
    /// One of a cluster.
    At {
        /// Its host, as the cluster tells it.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Primary::Only => f.write_str("the node"),
            Primary::At { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Link {
    /// Connects to one node.
    pub async fn node(name: TierName, url: &Url) -> Result<Self, Failure> {
        let away = |error| away(name, &url.to_string(), error);
        let client = Client::open(url.expose()).map_err(away)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_WAIT_MAX))
            .set_response_timeout(Some(ANSWER_WAIT_MAX))
            .set_number_of_retries(1);
        let node = ConnectionManager::new_with_config(client, config).await.map_err(away)?;
        Ok(Link { servers: Servers::Node(node), by_script: Arc::default() })
    }

    /// Connects to a cluster through any of its nodes.
    pub async fn cluster(name: TierName, urls: &[Url]) -> Result<Self, Failure> {
        let shown: Vec<String> = urls.iter().map(ToString::to_string).collect();
        let away = |error| away(name, &shown.join(", "), error);
        let client = ClusterClient::builder(urls.iter().map(Url::expose))
            .connection_timeout(CONNECT_WAIT_MAX)
            .response_timeout(ANSWER_WAIT_MAX)
            .retries(REDIRECTIONS_MAX)
            .min_retry_wait(RETRY_WAIT_MS[0])
            .max_retry_wait(RETRY_WAIT_MS[1])
            .build()
            .map_err(away)?;
        let connected = tokio::time::timeout(CONNECT_WAIT_MAX * 2, client.get_async_connection()).await;
        let timed_out = |_| RedisError::from((redis::ErrorKind::Io, "not every node answered in time"));
        let cluster = connected.map_err(timed_out).and_then(|connected| connected).map_err(away)?;
        Ok(Link { servers: Servers::Cluster(cluster), by_script: Arc::default() })
    }

    /// Sends one command to where its keys are. Where that node lacks the library, it is loaded there, and the command sent
    /// again; where it refuses functions, they go as scripts.
    pub async fn call(&self, command: &Cmd) -> Result<Value, TierError> {
        let mut loads = 0;
        while !self.by_script.load(Ordering::Relaxed) {
            let error = match self.send(command).await {
                Err(TierError::Redis(error)) => error,
                answer => return answer,
            };
            if library::is_refused(error.raw()) {
                self.take_scripts();
            } else if library::is_missing(error.raw()) && loads < LOADS_MAX {
                loads += 1;
                self.load_where(command).await?;
            } else {
                return Err(error.into());
            }
        }
        self.call_script(command).await
    }

    async fn call_script(&self, command: &Cmd) -> Result<Value, TierError> {
        let Some(short) = library::as_script(command, false) else { return self.send(command).await };
        match self.send(&short).await {
            Err(TierError::Redis(error)) if library::is_unknown_script(error.raw()) => {
                let whole = library::as_script(command, true);
                self.send(whole.as_ref().unwrap_or(command)).await
            }
            answer => answer,
        }
    }

    async fn send(&self, command: &Cmd) -> Result<Value, TierError> {
        let answer = match self.servers.clone() {
            Servers::Node(mut node) => tokio::time::timeout(ANSWER_WAIT_MAX * 2, command.query_async(&mut node)).await,
            Servers::Cluster(mut cluster) => {
                tokio::time::timeout(ANSWER_WAIT_MAX * 2, command.query_async(&mut cluster)).await
            }
        };
        Ok(answer.map_err(|_| TierError::Silent)??)
    }

    /// Loads the library on every primary; a cluster does not spread functions. Where functions are refused, there is nothing
    /// to load.
    pub async fn load_library(&self) -> Result<(), TierError> {
        for primary in self.primaries().await? {
            let loaded = self.send_to(&primary, library::load()).await;
            self.unless_refused(loaded)?;
        }
        Ok(())
    }

    /// Loads it on the one node that a call has come to: the others may be away.
    async fn load_where(&self, command: &Cmd) -> Result<(), TierError> {
        tracing::info!("a node lacks the function library; loading it");
        let loaded = match self.servers.clone() {
            Servers::Node(mut node) => library::load().query_async(&mut node).await,
            Servers::Cluster(mut cluster) => {
                let slot = library::first_key(command).map_or(0, slot_of_name);
                let there = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
                cluster.route_command(library::load(), RoutingInfo::SingleNode(there)).await
            }
        };
        self.unless_refused(loaded.map_err(TierError::from))
    }

    fn unless_refused(&self, loaded: Result<Value, TierError>) -> Result<(), TierError> {
        match loaded {
            Err(TierError::Redis(error)) if library::is_refused(error.raw()) => {
                self.take_scripts();
                Ok(())
            }
            loaded => loaded.map(drop),
        }
    }

    fn take_scripts(&self) {
        if !self.by_script.swap(true, Ordering::Relaxed) {
            tracing::info!("a server refuses functions; the same rules go as scripts (EVALSHA)");
        }
    }

    /// The servers that take writes, as of now.
    pub async fn primaries(&self) -> Result<Vec<Primary>, TierError> {
        let Servers::Cluster(mut cluster) = self.servers.clone() else { return Ok(vec![Primary::Only]) };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = cluster.route_command(redis::cmd("PING"), everywhere).await?;
        let answers: HashMap<String, Value> = redis::from_redis_value(answers).map_err(RedisError::from)?;
        let primary = |address: &String| {
            let (host, port) = address.rsplit_once(':')?;
            Some(Primary::At { host: host.to_owned(), port: port.parse().ok()? })
        };
        Ok(answers.keys().filter_map(primary).collect())
    }

    /// Sends a command that has no keys to one of them.
    pub async fn send_to(&self, primary: &Primary, command: Cmd) -> Result<Value, TierError> {
        let (Servers::Cluster(mut cluster), Primary::At { host, port }) = (self.servers.clone(), primary) else {
            return self.send(&command).await;
        };
        let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
        let answer = cluster.route_command(command, RoutingInfo::SingleNode(there));
        Ok(tokio::time::timeout(ANSWER_WAIT_MAX * 2, answer).await.map_err(|_| TierError::Silent)??)
    }
}

/// The slot of a name with a hash tag.
fn slot_of_name(name: &str) -> u16 {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(name, |(tag, _)| tag);
    slot_of(tag)
}

fn away(name: TierName, urls: &str, error: RedisError) -> Failure {
    let tier = name.as_str();
    Failure::unavailable(format!("can't reach {tier} at {urls}")).because(crate::RedisError::from(error)).remedy(
        format!(
            "check that Redis runs there and that LOCKSTEP_{}_URL{} is right",
            tier.to_uppercase(),
            if name == TierName::L1 { "S" } else { "" }
        ),
    )
}
