//! The way to a tier: one node or a cluster, with our own time-outs around the client.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::Url;
use lockstep_schemas::policy::TierName;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{Client, Cmd, RedisError, Value};

use crate::library;

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
/// A node that takes longer is away. The client's own default (500 ms) is too short for a burst of large calls.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);
/// The cluster client follows redirections by itself; a call sent twice is harmless (docs/protocol.md, "Sent again").
const REDIRECTIONS_MAX: u32 = 3;

/// A call to a tier that went wrong. What it did is not known.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// Redis, or the way to it.
    #[error("redis: {0}")]
    Redis(crate::RedisError),
    /// No answer in time.
    #[error("redis: no answer within {ANSWER_WAIT_MAX:?}")]
    Silent,
    /// An answer that the function library does not give.
    #[error("redis answered {answer} to {function}")]
    Answer {
        /// The function.
        function: &'static str,
        /// What came, shortened.
        answer: String,
    },
}

impl TierError {
    /// Whether the keys' slot is on its way to another node.
    pub fn is_moving(&self) -> bool {
        matches!(self, TierError::Redis(error) if error.raw().code() == Some("TRYAGAIN"))
    }
}

impl From<RedisError> for TierError {
    fn from(error: RedisError) -> Self {
        TierError::Redis(error.into())
    }
}

#[derive(Clone)]
pub(crate) enum Link {
    Node(ConnectionManager),
    Cluster(ClusterConnection),
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
        Ok(Link::Node(ConnectionManager::new_with_config(client, config).await.map_err(away)?))
    }

    /// Connects to a cluster through any of its nodes.
    pub async fn cluster(name: TierName, urls: &[Url]) -> Result<Self, Failure> {
        let shown: Vec<String> = urls.iter().map(ToString::to_string).collect();
        let away = |error| away(name, &shown.join(", "), error);
        let client = ClusterClient::builder(urls.iter().map(Url::expose))
            .connection_timeout(CONNECT_WAIT_MAX)
            .response_timeout(ANSWER_WAIT_MAX)
            .retries(REDIRECTIONS_MAX)
            .build()
            .map_err(away)?;
        let connected = tokio::time::timeout(CONNECT_WAIT_MAX * 2, client.get_async_connection()).await;
        let timed_out = |_| RedisError::from((redis::ErrorKind::Io, "no node answered in time"));
        Ok(Link::Cluster(connected.map_err(timed_out).and_then(|connected| connected).map_err(away)?))
    }

    /// Sends one command to where its keys are; loads the library where a node lacks it, and sends again.
    pub async fn call(&self, command: &Cmd) -> Result<Value, TierError> {
        match self.send(command).await {
            Err(TierError::Redis(error)) if library::is_missing(error.raw()) => {
                tracing::info!("a node lacks the function library; loading it");
                self.load_library().await?;
                self.send(command).await
            }
            answer => answer,
        }
    }

    async fn send(&self, command: &Cmd) -> Result<Value, TierError> {
        let answer = match self.clone() {
            Link::Node(mut node) => tokio::time::timeout(ANSWER_WAIT_MAX * 2, command.query_async(&mut node)).await,
            Link::Cluster(mut cluster) => {
                tokio::time::timeout(ANSWER_WAIT_MAX * 2, command.query_async(&mut cluster)).await
            }
        };
        Ok(answer.map_err(|_| TierError::Silent)??)
    }

    /// Loads the library on every primary; a cluster does not spread functions.
    pub async fn load_library(&self) -> Result<(), TierError> {
        let command = library::load();
        match self.clone() {
            Link::Node(mut node) => command.query_async::<Value>(&mut node).await?,
            Link::Cluster(mut cluster) => {
                let everywhere = (MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::AllSucceeded));
                cluster.route_command(command, RoutingInfo::MultiNode(everywhere)).await?
            }
        };
        Ok(())
    }
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
