//! Redis as anybody could read it: plain commands, every node asked by itself. Nothing here knows the engine.

use anyhow::{Context, Result};
use redis::aio::{ConnectionLike, ConnectionManager, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, Value};
use std::collections::BTreeSet;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
const SCAN_COUNT: usize = 1_000;
/// A demo has some thousands of keys; a node with more than this is somebody else's.
const KEYS_MAX: usize = 1_000_000;

/// A tier that is kept in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisTier {
    /// One node or a cluster, every product.
    L2,
    /// A cluster, hot products, profiles, carts.
    L1,
}

impl RedisTier {
    /// As it is written in lines and in the JSON object.
    pub fn name(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::L1 => "l1",
        }
    }
}

/// L2, however many nodes it has.
#[derive(Clone)]
pub enum L2 {
    /// The single node, reconnecting by itself.
    Node(ConnectionManager),
    /// The cluster, following its redirections.
    Cluster(ClusterConnection),
}

impl ConnectionLike for L2 {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(node) => node.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(node) => node.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        0
    }
}

/// Both tiers.
#[derive(Clone)]
pub struct Caches {
    l2_urls: Vec<String>,
    l1_urls: Vec<String>,
    /// One node or a cluster.
    pub l2: L2,
    /// The cluster, following its redirections.
    pub l1: ClusterConnection,
}

impl Caches {
    /// Connects to both; of a cluster any node that answers is enough. L2 is a cluster where it has nodes.
    pub async fn connect(l2_url: &str, l2_nodes: &[String], l1_urls: &[String]) -> Result<Self> {
        let (l2, l2_urls) = if l2_nodes.is_empty() {
            let node = Client::open(l2_url)?.get_connection_manager().await.context("connect to L2")?;
            (L2::Node(node), vec![l2_url.to_owned()])
        } else {
            (L2::Cluster(join(l2_nodes).await.context("connect to L2")?), l2_nodes.to_vec())
        };
        let l1 = join(l1_urls).await.context("connect to L1")?;
        Ok(Self { l2_urls, l1_urls: l1_urls.to_vec(), l2, l1 })
    }

    /// A connection to each primary of the tier.
    pub async fn primaries(&self, tier: RedisTier) -> Result<Vec<MultiplexedConnection>> {
        let urls = match tier {
            RedisTier::L2 => match self.l2 {
                L2::Node(_) => self.l2_urls.clone(),
                L2::Cluster(_) => cluster_primaries(&self.l2_urls).await.context("ask L2")?,
            },
            RedisTier::L1 => cluster_primaries(&self.l1_urls).await.context("ask L1")?,
        };
        let mut primaries = Vec::with_capacity(urls.len());
        for url in urls {
            primaries.push(connect(&url).await?);
        }
        Ok(primaries)
    }

    /// Every key of the tier that matches, sorted.
    pub async fn keys(&self, tier: RedisTier, pattern: &str) -> Result<Vec<String>> {
        let mut keys = BTreeSet::new();
        for mut primary in self.primaries(tier).await? {
            scan(&mut primary, pattern, &mut keys).await?;
        }
        Ok(keys.into_iter().collect())
    }
}

async fn join(urls: &[String]) -> Result<ClusterConnection> {
    Ok(ClusterClient::new(urls.to_vec())?.get_async_connection().await?)
}

async fn cluster_primaries(urls: &[String]) -> Result<Vec<String>> {
    let mut last = anyhow::anyhow!("no url is configured");
    for url in urls {
        match ask_nodes(url).await {
            Ok(nodes) => return Ok(primaries_of(&nodes)),
            Err(error) => last = error,
        }
    }
    Err(last.context("no node answers"))
}

/// Adds every key of one node that matches `pattern`; SCAN may name a key twice, the set does not.
pub async fn scan(node: &mut MultiplexedConnection, pattern: &str, keys: &mut BTreeSet<String>) -> Result<()> {
    let mut cursor = 0u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        let (next, found): (u64, Vec<Vec<u8>>) = scan.query_async(node).await?;
        keys.extend(found.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
        anyhow::ensure!(keys.len() <= KEYS_MAX, "more than {KEYS_MAX} keys in one tier");
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
    let client = Client::open(url)?;
    client.get_multiplexed_async_connection_with_config(&config).await.with_context(|| format!("connect to {url}"))
}

async fn ask_nodes(url: &str) -> Result<String> {
    Ok(redis::cmd("CLUSTER").arg("NODES").query_async(&mut connect(url).await?).await?)
}

/// The urls of the primaries that serve slots, from the text of CLUSTER NODES:
/// `<id> <ip>:<port>@<bus port> <flags> <primary> <ping> <pong> <epoch> <link> <slots...>`.
fn primaries_of(nodes: &str) -> Vec<String> {
    let primary = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, flags) = (words.get(1)?.split('@').next()?, words.get(2)?);
        let alive = flags.split(',').any(|flag| flag == "master") && !flags.split(',').any(|flag| flag == "fail");
        (alive && words.len() > 8).then(|| format!("redis://{address}/"))
    };
    nodes.lines().filter_map(primary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_are_those_that_serve_slots() {
        let nodes = "\
a 127.0.0.1:7001@17001 myself,master - 0 0 1 connected 0-5460
b 127.0.0.1:7002@17002,host master - 0 0 2 connected 5461-10922
c 127.0.0.1:7003@17003 master,fail - 0 0 3 disconnected 10923-16383
d 127.0.0.1:7004@17004 slave a 0 0 1 connected
e 127.0.0.1:7005@17005 master - 0 0 4 connected
";
        assert_eq!(primaries_of(nodes), ["redis://127.0.0.1:7001/", "redis://127.0.0.1:7002/"]);
    }
}
