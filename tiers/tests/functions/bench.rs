//! A tier, and plain commands beside it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use lockstep_process::config::{RedisServers, Url};
use lockstep_schemas::change::{Cell, Row};
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{DEFAULT, Policy, TierName, View};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_stack::{Endpoints, RedisVersion, Services, Stack, StackOptions};
use lockstep_tiers::call::Calls;
use lockstep_tiers::{Action, Apply, Layout, Place, Tier};
use redis::Value;
use redis::aio::MultiplexedConnection;
use redis::cluster_async::ClusterConnection;

use crate::twin::{Pair, server_of};

pub const TIMELINE: &str = "00000001";
pub const TTL: Duration = Duration::from_secs(60);
/// No rule takes longer.
const RULE_MAX: Duration = Duration::from_secs(20);

/// A hash as it lies in Redis.
pub type Hash = BTreeMap<String, String>;

static STACK: Mutex<Option<Stack>> = Mutex::new(None);
static ENDED: AtomicUsize = AtomicUsize::new(0);
/// Held alone by rules about the library itself, which take it away from all others.
static LIBRARY: RwLock<()> = RwLock::new(());

/// The n-th position.
pub fn at(n: u64) -> Position {
    Position { epoch: 1, lsn: Lsn(n), ordinal: 1 }
}

/// Runs a rule on one node and on the cluster, in a namespace of its own.
pub fn on_both_layouts(module: &str, name: &str, rule: impl AsyncFn(&Bench)) {
    let _last = Last;
    let endpoints = endpoints();
    let alone = (module == "library").then(|| LIBRARY.write().unwrap_or_else(PoisonError::into_inner));
    let _shared = alone.is_none().then(|| LIBRARY.read().unwrap_or_else(PoisonError::into_inner));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // L2 may be either. What the servers do does not depend on the tier's name: the longest tests go without the third.
        let kinds = [(TierName::L2, false), (TierName::L1, true), (TierName::L2, true)];
        for (tier, is_cluster) in kinds.into_iter().take(if module == "twin" { 2 } else { 3 }) {
            eprintln!("{name}, {} on {}", tier.as_str(), if is_cluster { "the cluster" } else { "one node" });
            let namespace = format!("{name}.{}.", tier.as_str());
            let bench = Bench::connect(&endpoints, tier, is_cluster, &namespace).await;
            tokio::time::timeout(RULE_MAX, rule(&bench)).await.expect("a rule within its time");
        }
    });
}

fn endpoints() -> Endpoints {
    let mut stack = STACK.lock().unwrap_or_else(PoisonError::into_inner);
    let started = stack.get_or_insert_with(|| {
        lockstep_process::install_crypto_provider();
        let options = options(Services { l1: true, l2: true, ..Services::NONE });
        let started = Stack::start(options, &mut |line| eprintln!("{line}"));
        started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
    });
    started.endpoints().clone()
}

/// The servers that the rules are tried on: LOCKSTEP_TEST_REDIS=valkey asks for Valkey 9.
pub fn options(services: Services) -> StackOptions {
    let redis_version = match std::env::var("LOCKSTEP_TEST_REDIS").as_deref() {
        Err(_) | Ok("redis") => RedisVersion::V7,
        Ok("valkey") => RedisVersion::Valkey9,
        Ok(other) => panic!("LOCKSTEP_TEST_REDIS is redis or valkey, not {other}"),
    };
    StackOptions { services, redis_version, ..StackOptions::default() }
}

/// The last rule to end takes the servers along. (Where only some run, the process's end does.)
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        if ENDED.fetch_add(1, Ordering::SeqCst) + 1 == crate::RULES {
            drop(STACK.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

enum Raw {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// One tier with one partition, and plain commands beside it.
pub struct Bench {
    pub tier: Tier,
    pub view: Arc<View>,
    pub place: Place,
    pub endpoints: Endpoints,
    namespace: String,
    raw: Raw,
}

impl Bench {
    async fn connect(endpoints: &Endpoints, name: TierName, is_cluster: bool, namespace: &str) -> Self {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let layout = Arc::new(Layout::new(&policy, namespace, 1));
        let view = policy.views["product_all"].clone();
        let place = layout.place(&view.group, "7");
        let tier = Tier::connect(name, &servers(endpoints, is_cluster, ""), layout).await.expect("a tier");
        let raw = if is_cluster {
            Raw::Cluster(plain_cluster(endpoints).await)
        } else {
            Raw::Node(plain(&endpoints.l2).await)
        };
        tier.load_library().await.expect("the library");
        Bench { tier, view, place, endpoints: endpoints.clone(), namespace: namespace.to_owned(), raw }
    }

    /// Another tier on the same servers. `user`: as whom, `name:password@`.
    pub async fn another(&self, layout: Arc<Layout>, user: &str) -> Tier {
        let servers = servers(&self.endpoints, self.is_cluster(), user);
        Tier::connect(self.tier.name, &servers, layout).await.expect("a tier")
    }

    /// The nodes that take writes: L2, or the cluster's three primaries.
    pub fn primaries(&self) -> &[String] {
        if self.is_cluster() { &self.endpoints.l1[..3] } else { std::slice::from_ref(&self.endpoints.l2) }
    }

    /// Every node.
    pub fn nodes(&self) -> &[String] {
        if self.is_cluster() { &self.endpoints.l1 } else { std::slice::from_ref(&self.endpoints.l2) }
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self.raw, Raw::Cluster(_))
    }

    pub fn key(&self, entity: &str) -> Key {
        self.view.key.key(entity)
    }

    pub fn watermark_name(&self) -> String {
        self.tier.layout().watermark(&self.place)
    }

    pub fn claims_name(&self) -> String {
        self.tier.layout().claims(&self.place)
    }

    /// Where an entity's entry must lie, by docs/protocol.md, section 5.
    pub fn entry_name(&self, entity: &str) -> String {
        let key = format!("product:all:{entity}");
        let tag = self.watermark_name();
        let tag = tag.strip_suffix("_w").expect("a watermark's name");
        if self.is_cluster() { format!("{tag}{key}") } else { format!("{}{key}", self.namespace) }
    }

    pub fn marker_name(&self, entity: &str) -> String {
        format!("{}:_lease", self.entry_name(entity))
    }

    /// The tier's server, and a twin of it.
    pub async fn pair(&self) -> Pair {
        let calls = Calls::new(self.tier.layout().clone(), self.is_cluster());
        let server = server_of(self.primaries(), &self.watermark_name()).await;
        Pair { server, calls, place: self.place.clone(), view: self.view.clone() }
    }

    pub async fn send(&self, command: &redis::Cmd) -> Value {
        self.try_send(command).await.expect("an answer")
    }

    pub async fn try_send(&self, command: &redis::Cmd) -> Result<Value, redis::RedisError> {
        match &self.raw {
            Raw::Node(node) => command.query_async(&mut node.clone()).await,
            Raw::Cluster(cluster) => command.query_async(&mut cluster.clone()).await,
        }
    }

    async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let (name, arguments) = words.split_first().expect("a command");
        let answer = self.send(redis::cmd(name).arg(arguments)).await;
        redis::from_redis_value(answer).expect("an answer of that type")
    }

    /// Calls a function for one entity, as any client could; its answer as texts.
    pub async fn call(&self, function: &str, entity: &str, arguments: &[&str]) -> Vec<String> {
        self.call_many(function, &[entity], arguments).await
    }

    /// The same, for some entities.
    pub async fn call_many(&self, function: &str, entities: &[&str], arguments: &[&str]) -> Vec<String> {
        let mut command = self.function(function, entities);
        command.arg(arguments);
        match self.send(&command).await {
            Value::Array(texts) => {
                texts.into_iter().map(|text| redis::from_redis_value(text).expect("a text")).collect()
            }
            text => vec![redis::from_redis_value(text).expect("a text")],
        }
    }

    /// Calls `fill` or `settle` as any client could, which has the entries from a server's `DUMP`; a word for each.
    pub async fn call_fill(
        &self,
        function: &str,
        arguments: &[&str],
        entries: &[(&str, &[(&str, &str)])],
    ) -> Vec<String> {
        let entities: Vec<&str> = entries.iter().map(|(entity, _)| *entity).collect();
        let mut command = self.function(function, &entities);
        command.arg(arguments);
        for (_, fields) in entries {
            command.arg(self.whole(fields).await);
        }
        let words: String = redis::from_redis_value(self.send(&command).await).expect("words");
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn function(&self, name: &str, entities: &[&str]) -> redis::Cmd {
        let mut keys = vec![self.watermark_name()];
        if ["read", "claim", "settle", "apply"].contains(&name) {
            keys.push(self.claims_name());
        }
        for entity in entities {
            keys.push(self.entry_name(entity));
            if name != "settle" {
                keys.push(self.marker_name(entity));
            }
        }
        let mut command = redis::cmd("FCALL");
        command.arg(format!("lockstep1_{name}")).arg(keys.len()).arg(&keys);
        command
    }

    /// A hash as the server itself would dump it.
    pub async fn whole(&self, fields: &[(&str, &str)]) -> Vec<u8> {
        let name = self.entry_name("to be dumped");
        self.plant(&name, fields).await;
        let whole = self.ask(&["DUMP", &name]).await;
        self.remove(&name).await;
        whole
    }

    pub async fn hash(&self, name: &str) -> Hash {
        self.ask(&["HGETALL", name]).await
    }

    pub async fn entry(&self, entity: &str) -> Hash {
        self.hash(&self.entry_name(entity)).await
    }

    /// A marker's position and nonce; empty where there is none.
    pub async fn marker(&self, entity: &str) -> Hash {
        let text: Option<String> = self.ask(&["GET", &self.marker_name(entity)]).await;
        text.as_deref().map(marker_of).unwrap_or_default()
    }

    /// A text as it lies there.
    pub async fn bytes(&self, name: &str) -> Vec<u8> {
        self.ask(&["GET", name]).await
    }

    /// How the server keeps an entry.
    pub async fn encoding(&self, entity: &str) -> String {
        self.ask(&["OBJECT", "ENCODING", &self.entry_name(entity)]).await
    }

    pub async fn watermark(&self) -> Hash {
        self.hash(&self.watermark_name()).await
    }

    /// Remaining life in milliseconds; -1 without an end, -2 where there is no such key.
    pub async fn life_ms(&self, name: &str) -> i64 {
        self.ask(&["PTTL", name]).await
    }

    /// Lays a hash down by hand.
    pub async fn plant(&self, name: &str, fields: &[(&str, &str)]) {
        let flat = fields.iter().flat_map(|(field, text)| [*field, *text]);
        let words: Vec<&str> = ["HSET", name].into_iter().chain(flat).collect();
        let _: i64 = self.ask(&words).await;
    }

    /// An entry as a fill leaves it, with a stock and a category.
    pub async fn plant_entry(&self, entity: &str, low: Position, high: Position) {
        let name = self.entry_name(entity);
        let (low, high) = (low.to_string(), high.to_string());
        self.plant(&name, &[("stock", "3"), ("category", "mugs"), ("_low", &low), ("_high", &high)]).await;
        let _: i64 = self.ask(&["PEXPIRE", &name, &TTL.as_millis().to_string()]).await;
    }

    /// An entry that ran out, or was evicted.
    pub async fn evict(&self, entity: &str) {
        self.remove(&self.entry_name(entity)).await;
    }

    pub async fn remove(&self, name: &str) {
        let _: i64 = self.ask(&["UNLINK", name]).await;
    }

    /// Something that is no entry, under some name.
    pub async fn text(&self, name: &str, text: &str) {
        let _: String = self.ask(&["SET", name, text]).await;
    }

    pub async fn plant_marker(&self, entity: &str, nonce: &str, position: Position) {
        self.text(&self.marker_name(entity), &format!("{position}{nonce}")).await;
    }

    /// The watermark of a tier that has come to a position.
    pub async fn plant_watermark(&self, position: Position) {
        self.plant(&self.watermark_name(), &[("pos", &position.to_string()), ("timeline", TIMELINE)]).await;
    }

    /// A batch without anything special.
    pub fn batch<'a>(&self, expect: Position, new: Position, actions: &'a [(Key, Action)]) -> Apply<'a> {
        Apply {
            expect,
            new,
            offset: 5,
            floor: None,
            timeline: TIMELINE,
            at: 77,
            nonce: "engine",
            actions,
            outward: None,
        }
    }
}

/// What a marker's text says.
pub fn marker_of(text: &str) -> Hash {
    let (pos, nonce) = text.split_at(Position::LEAST.to_string().len());
    [("pos", pos), ("nonce", nonce)].map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

/// A refresh: a text, or a null.
pub fn refresh(position: Position, fields: &[(&str, Option<&str>)]) -> Action {
    let cell = |text: &Option<&str>| text.map_or(Cell::Null, |text| Cell::Value(text.into()));
    let names = fields.iter().map(|(name, _)| Arc::from(*name)).collect();
    let fields = Row::new(names, fields.iter().map(|(_, text)| cell(text)).collect());
    Action::Refresh { position, ttl: TTL * 2, born: None, fields }
}

/// A refresh by all that the entry can have, committed at 42.
pub fn whole(position: Position, fields: &[(&str, Option<&str>)]) -> Action {
    match refresh(position, fields) {
        Action::Refresh { position, ttl, fields, .. } => Action::Refresh { position, ttl, born: Some(42), fields },
        Action::Invalidate => Action::Invalidate,
    }
}

pub fn servers(endpoints: &Endpoints, is_cluster: bool, user: &str) -> RedisServers {
    let url = |url: &String| {
        let url = url.replace("redis://", &format!("redis://{user}"));
        Url::parse("a node", &url, &["redis"]).expect("a URL")
    };
    if is_cluster {
        RedisServers::Cluster(endpoints.l1.iter().map(url).collect())
    } else {
        RedisServers::Node(url(&endpoints.l2))
    }
}

pub async fn plain(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("a connection")
}

async fn plain_cluster(endpoints: &Endpoints) -> ClusterConnection {
    let client = redis::cluster::ClusterClient::new(endpoints.l1.clone()).expect("URLs");
    client.get_async_connection().await.expect("a connection")
}
