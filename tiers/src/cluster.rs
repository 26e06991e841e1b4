//! A cluster as its operator sees it: which primary has which slots, what lies in them, and a slot's way from one to another.

mod handover;
mod nodes;
pub mod plan;
mod unlink;

use std::collections::BTreeMap;

use lockstep_process::config::Url;
use lockstep_schemas::policy::Policy;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue};

use crate::layout::{Layout, Place};
use crate::link::ANSWER_WAIT_MAX;
use crate::tier_error::TierError;

pub use handover::{Handed, How};
use nodes::Member;

/// Names of a slot whose memory is asked for.
const SAMPLE: usize = 20;

/// A way of its own to each primary, those without slots too.
pub struct Cluster {
    primaries: Vec<Primary>,
}

/// One primary, by what it says of itself.
struct Primary {
    member: Member,
    connection: MultiplexedConnection,
    /// For whoever sends keys to it.
    user: Option<String>,
    password: Option<String>,
}

/// A slot in which data of ours lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub slot: u16,
    /// The partitions that lie in it.
    pub places: Vec<Place>,
    /// The primary that has it, `host:port`.
    pub node: String,
    /// Names in it: entries, leases, watermarks.
    pub names: u64,
    /// Bytes in memory, about: from some of its names.
    pub bytes: u64,
    /// Where it is on its way to.
    pub moves_to: Option<String>,
}

impl Cluster {
    /// Connects to every primary, through any node that answers.
    pub async fn open(urls: &[Url]) -> Result<Self, TierError> {
        let mut failed = TierError::Silent;
        for url in urls {
            match Self::through(url).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    async fn through(url: &Url) -> Result<Self, TierError> {
        let client = Client::open(url.expose())?;
        let info = client.get_connection_info().clone();
        let mut any = connect(info.clone()).await?;
        let mut primaries = Vec::new();
        for member in nodes::parse(&ask::<String>(&mut any, nodes_command()).await?) {
            if !member.is_primary {
                continue;
            }
            let mut connection = connect(at(&info, &member)).await?;
            // What a node says of itself: the others may not have heard yet.
            let own = nodes::parse(&ask::<String>(&mut connection, nodes_command()).await?);
            let Some(own) = own.into_iter().find(|one| one.id == member.id) else { continue };
            let settings = info.redis_settings();
            let (user, password) = (settings.username().map(str::to_owned), settings.password().map(str::to_owned));
            let member = Member { host: member.host, port: member.port, ..own };
            primaries.push(Primary { member, connection, user, password });
        }
        primaries.sort_by_key(|primary| primary.member.address());
        Ok(Cluster { primaries })
    }

    /// The addresses of all primaries, `host:port`.
    pub fn addresses(&self) -> Vec<String> {
        self.primaries.iter().map(|primary| primary.member.address()).collect()
    }

    /// The slots in which data of ours lies, and how much.
    pub async fn survey(&self, layout: &Layout, policy: &Policy, tier: &[Place]) -> Result<Vec<Slot>, TierError> {
        let mut places: BTreeMap<u16, Vec<Place>> = BTreeMap::new();
        for place in tier.iter().filter(|place| policy.groups.contains_key(&place.group)) {
            places.entry(layout.slot(place)).or_default().push(place.clone());
        }
        let mut slots = Vec::new();
        for (slot, places) in places {
            let Some(owner) = self.owner(slot) else { continue };
            let (names, bytes) = owner.weigh(slot).await?;
            let moves_to = owner.member.migrating.get(&slot).and_then(|id| self.by_id(id));
            let moves_to = moves_to.map(|node| node.member.address());
            slots.push(Slot { slot, places, node: owner.member.address(), names, bytes, moves_to });
        }
        Ok(slots)
    }

    /// The primary that has a slot, by its own word. Right after a move two may say so: then the one that hands nothing over.
    fn owner(&self, slot: u16) -> Option<&Primary> {
        let owners = self.primaries.iter().filter(|primary| primary.member.has(slot));
        owners.min_by_key(|primary| primary.member.migrating.contains_key(&slot))
    }

    fn by_id(&self, id: &str) -> Option<&Primary> {
        self.primaries.iter().find(|primary| primary.member.id == id)
    }

    fn at(&self, address: &str) -> Option<&Primary> {
        self.primaries.iter().find(|primary| primary.member.address() == address || primary.member.id == address)
    }
}

impl Primary {
    async fn ask<T: FromRedisValue>(&self, command: Cmd) -> Result<T, TierError> {
        ask(&mut self.connection.clone(), command).await
    }

    /// How many names a slot has, and about how many bytes.
    async fn weigh(&self, slot: u16) -> Result<(u64, u64), TierError> {
        let names: u64 = self.ask(of_slot("COUNTKEYSINSLOT", slot)).await?;
        let mut sample = of_slot("GETKEYSINSLOT", slot);
        sample.arg(SAMPLE);
        let sample: Vec<Vec<u8>> = self.ask(sample).await?;
        let mut bytes = 0;
        for name in &sample {
            let mut command = redis::cmd("MEMORY");
            command.arg("USAGE").arg(name).arg("SAMPLES").arg(0);
            bytes += self.ask::<Option<u64>>(command).await?.unwrap_or(0);
        }
        Ok((names, if sample.is_empty() { 0 } else { bytes * names / sample.len() as u64 }))
    }
}

fn nodes_command() -> Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg("NODES");
    command
}

fn of_slot(what: &str, slot: u16) -> Cmd {
    let mut command = redis::cmd("CLUSTER");
    command.arg(what).arg(slot);
    command
}

/// The same connection, to another node.
fn at(info: &ConnectionInfo, member: &Member) -> ConnectionInfo {
    let (host, port) = (member.host.clone(), member.port);
    let address = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    info.clone().set_addr(address)
}

async fn connect(info: ConnectionInfo) -> Result<MultiplexedConnection, TierError> {
    let client = Client::open(info)?;
    let connecting = tokio::time::timeout(ANSWER_WAIT_MAX * 2, client.get_multiplexed_async_connection());
    let mut connection = connecting.await.map_err(|_| TierError::Silent)??;
    // A bundle of names takes longer than a call: our own wait, around it, ends it.
    connection.set_response_timeout(handover::STEP_WAIT_MAX);
    Ok(connection)
}

async fn ask<T: FromRedisValue>(connection: &mut MultiplexedConnection, command: Cmd) -> Result<T, TierError> {
    Ok(command.query_async(connection).await?)
}
