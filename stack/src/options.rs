//! What a stack is made of.

use std::fmt;
use std::path::PathBuf;

/// Nodes of the cluster that serves as L1: three primaries and a replica of each.
pub const L1_NODES: usize = 6;
/// Nodes of the cluster that L2 may be: three primaries.
pub const L2_NODES: usize = 3;

/// How to start a stack. The default is all five services in a temporary folder.
#[derive(Clone)]
pub struct StackOptions {
    /// The private folder: a new or empty one, kept at the end. `None`: a temporary one, removed at the end.
    pub dir: Option<PathBuf>,
    /// Which services to start.
    pub services: Services,
    /// The port behind the edge, where the gateway will listen. `None`: a free one.
    pub gateway_port: Option<u16>,
    /// The folder of the Kafka broker's jars.
    pub kafka_jars: PathBuf,
    /// A broker for benches of throughput: 1 GiB of heap and the optimizing compiler. It starts more slowly.
    pub kafka_throughput: bool,
    /// Gives Kafka one more listener, which sends its clients to this port of 127.0.0.1: that of a proxy before it.
    pub kafka_proxy_port: Option<u16>,
    /// Settings of PostgreSQL beside those that this crate makes, name and value; they win over ours.
    pub postgres_settings: Vec<(String, String)>,
    /// Asks everyone for this password of the user `postgres` (SCRAM). `None`: everyone is trusted.
    pub postgres_password: Option<String>,
    /// Which PostgreSQL.
    pub postgres_version: PostgresVersion,
    /// PostgreSQL 18, as its package has it: `bin/`, `lib/`, `share/`.
    pub postgres_18: PathBuf,
    /// A standby beside PostgreSQL that follows it through the slot `standby`; of 18, slots that may fail over go with it.
    pub postgres_standby: bool,
    /// PostgreSQL by TLS only, and Kafka with a listener that encrypts and asks who its clients are. `None`: neither.
    pub secured: Option<Secured>,
    /// Which Redis L2 and L1 are.
    pub redis_version: RedisVersion,
    /// The server program of Valkey 9.
    pub valkey_9: PathBuf,
    /// Whether L2 keeps an append-only file and so comes back with its entries after a crash.
    pub redis_l2_persist: bool,
    /// Whether L2 is a cluster of [`L2_NODES`], and not one node.
    pub redis_l2_cluster: bool,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            dir: None,
            services: Services::default(),
            gateway_port: None,
            kafka_jars: cache().join("kafka-4.3.1/lib"),
            kafka_throughput: false,
            kafka_proxy_port: None,
            postgres_settings: Vec::new(),
            postgres_password: None,
            postgres_version: PostgresVersion::default(),
            postgres_18: cache().join("postgresql-18.4/native"),
            postgres_standby: false,
            secured: None,
            redis_version: RedisVersion::default(),
            valkey_9: cache().join("valkey-9.1.2/valkey-server"),
            redis_l2_persist: false,
            redis_l2_cluster: false,
        }
    }
}

/// How servers prove who they are, by an authority that is made with the stack, and whom Kafka knows.
#[derive(Clone)]
pub struct Secured {
    /// Names and addresses that the servers' certificate is for.
    pub names: Vec<String>,
    /// The users of Kafka's secured listener.
    pub kafka_users: Vec<String>,
    /// Whether a user may only do what an ACL allows. Who comes by the open listener may do everything all the same.
    pub kafka_authorizes: bool,
    /// Every user's password, for PLAIN and SCRAM alike. No quotes, backslashes, commas or brackets.
    pub kafka_password: String,
}

impl Default for Secured {
    fn default() -> Self {
        Self {
            names: ["localhost", "127.0.0.1"].map(str::to_owned).to_vec(),
            kafka_users: vec!["lockstep".to_owned()],
            kafka_authorizes: false,
            kafka_password: "lockstep".to_owned(),
        }
    }
}

/// Where `scripts/bootstrap` puts what no package of the system has.
fn cache() -> PathBuf {
    match std::env::var_os("LOCKSTEP_CACHE") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/lockstep"),
    }
}

/// Versions of PostgreSQL that a stack can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PostgresVersion {
    /// Debian's.
    #[default]
    V15,
    /// Knows slots that a standby takes over.
    V18,
}

/// Servers that speak Redis's language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisVersion {
    /// Redis 7, Debian's.
    #[default]
    V7,
    /// Valkey 9, which moves slots at one stroke.
    Valkey9,
}

/// Which services a stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    /// PostgreSQL, the source.
    pub postgres: bool,
    /// Kafka, one broker.
    pub kafka: bool,
    /// One Redis node, L2; or a cluster, where [`StackOptions::redis_l2_cluster`] asks for it.
    pub l2: bool,
    /// A Redis Cluster of [`L1_NODES`], L1.
    pub l1: bool,
    /// Varnish with xkey, the edge.
    pub varnish: bool,
}

impl Services {
    /// None at all, to be filled in: `Services { l2: true, ..Services::NONE }`.
    pub const NONE: Self = Self { postgres: false, kafka: false, l2: false, l1: false, varnish: false };
}

impl Default for Services {
    fn default() -> Self {
        Self { postgres: true, kafka: true, l2: true, l1: true, varnish: true }
    }
}

/// One server of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// PostgreSQL, the source.
    Postgres,
    /// The standby of PostgreSQL.
    Standby,
    /// Kafka, one broker.
    Kafka,
    /// The Redis node that is L2.
    L2,
    /// One node of the cluster that is L2, from 0 to 2: a primary.
    L2Node(usize),
    /// One node of the cluster that is L1, from 0 to 5. At the start 0 to 2 are primaries.
    L1(usize),
    /// Varnish, the edge.
    Varnish,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres => f.write_str("postgresql"),
            Self::Standby => f.write_str("standby"),
            Self::Kafka => f.write_str("kafka"),
            Self::L2 => f.write_str("l2"),
            Self::L2Node(node) => write!(f, "l2-{node}"),
            Self::L1(node) => write!(f, "l1-{node}"),
            Self::Varnish => f.write_str("varnish"),
        }
    }
}
