//! The pipeline's roles, in this process, and what they are told.

use std::sync::Arc;

use lockstep_process::config::{Config, ConfigArgs, KafkaConfig};
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::{DEFAULT, Policy, TierName};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::loader::Loader;
use lockstep_stack::Endpoints;
use lockstep_tiers::{Edge, Layout, Tier, Tiers};
use rdkafka::producer::{FutureProducer, FutureRecord};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::chain::{WAIT_MAX, until};

/// The distance of two rounds of purges, and with it the length of every scenario.
const FILE: &str = "[edge]\nresponse_ms_max = 1000\n";

/// A role at work. It stops when this is dropped.
pub struct Role {
    stop: Shutdown,
    task: Option<JoinHandle<Result<(), Failure>>>,
}

impl Role {
    /// Stops it as a signal would.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let task = self.task.take().expect("a running role");
        let ended = tokio::time::timeout(WAIT_MAX, task).await.expect("an end in time");
        ended.expect("no panic").expect("no failure");
    }

    /// Ends it in the middle of whatever it does.
    pub async fn crash(mut self) {
        let task = self.task.take().expect("a running role");
        task.abort();
        let _ = task.await;
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every role is told, and the tiers as a reader has them.
pub struct Setting {
    pub policy: Arc<Policy>,
    pub kafka: KafkaConfig,
    pub tiers: Tiers,
    pub config: Arc<Config>,
    arguments: ConfigArgs,
    _folder: TempDir,
}

impl Setting {
    pub async fn of(endpoints: &Endpoints) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lockstep.toml");
        std::fs::write(&file, FILE).expect("a configuration");
        let arguments = ConfigArgs {
            config: Some(file),
            database_url: Some(endpoints.database_url.clone()),
            kafka_brokers: Some(endpoints.kafka.clone()),
            l2_url: Some(endpoints.l2.clone()).filter(|url| !url.is_empty()),
            l2_urls: Some(endpoints.l2_nodes.clone()).filter(|urls| !urls.is_empty()),
            l1_urls: Some(endpoints.l1.clone()),
            edge_url: Some(endpoints.edge.clone()),
            gateway_listen: Some(endpoints.gateway.trim_start_matches("http://").to_owned()),
            partitions: Some(1),
            ..ConfigArgs::default()
        };
        let config = Config::load(&arguments).expect("a configuration");
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let database = Database::connect(config.database().expect("a database"), "test").await.expect("a database");
        let layout = Arc::new(Layout::new(&policy, "", 1));
        let l1 = Tier::cluster(TierName::L1, config.l1().expect("L1"), layout.clone()).await.expect("L1");
        let l2 = Tier::connect(TierName::L2, config.l2().expect("L2"), layout).await.expect("L2");
        let loader = Loader::prepare(&database, &policy).await.expect("a loader");
        let tiers = Tiers { l1, l2, loader: Arc::new(loader), switched: None, history: None };
        let kafka = config.kafka().expect("Kafka").clone();
        Setting { policy: Arc::new(policy), kafka, tiers, config: Arc::new(config), arguments, _folder: folder }
    }

    pub fn ingest(&self) -> Role {
        let (config, policy) = (self.config.clone(), self.policy.clone());
        role(async move |stop| lockstep_ingest::run(&config, &policy, &Metrics::default(), stop).await)
    }

    pub fn engine(&self) -> Role {
        role(|stop| self.engine_until(stop))
    }

    /// An engine that counts here.
    pub fn engine_counting(&self, metrics: Metrics) -> Role {
        let (config, policy) = (self.config.clone(), self.policy.clone());
        role(async move |stop| {
            let follower = Follower::start(config.kafka()?, stop.clone());
            lockstep_coherence::run(&config, &policy, &follower, &metrics, stop).await
        })
    }

    /// The engine for whoever runs it in a way of his own.
    pub fn engine_until(&self, stop: Shutdown) -> impl Future<Output = Result<(), Failure>> + Send + use<> {
        let (config, policy) = (self.config.clone(), self.policy.clone());
        async move {
            let follower = Follower::start(config.kafka()?, stop.clone());
            lockstep_coherence::run(&config, &policy, &follower, &Metrics::default(), stop).await
        }
    }

    /// Another gateway, that listens there and is told this policy.
    pub fn gateway_at(&self, listen: &str, policy: Policy) -> Role {
        let arguments = ConfigArgs { gateway_listen: Some(listen.to_owned()), ..self.arguments.clone() };
        gateway(Config::load(&arguments).expect("a configuration").into(), policy.into())
    }

    pub fn gateway(&self) -> Role {
        gateway(self.config.clone(), self.policy.clone())
    }

    /// The way to the edge, for purges by hand.
    pub fn edge(&self) -> Edge {
        Edge::new(self.config.edge().expect("an edge")).expect("a client")
    }

    /// Announces the hot set, as the warmer does.
    pub async fn announce_hot(&self, products: &[String]) {
        let producer: FutureProducer = topics::producer(&self.kafka, "test-hot").create().expect("a producer");
        let (topic, value) = (topics::HOT.name(&self.kafka), serde_json::to_vec(products).expect("json"));
        until("the hot set to be announced", async || {
            let record = FutureRecord::to(&topic).partition(0).key("product_hot").payload(&value);
            producer.send(record, WAIT_MAX).await.ok()
        })
        .await;
    }
}

fn gateway(config: Arc<Config>, policy: Arc<Policy>) -> Role {
    role(async move |stop| {
        let follower = Follower::start(config.kafka()?, stop.clone());
        lockstep_gateway::run(&config, &policy, &follower, &Metrics::default(), stop).await
    })
}

fn role<F>(run: impl FnOnce(Shutdown) -> F) -> Role
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let stop = Shutdown::new();
    let task = tokio::spawn(run(stop.clone()));
    Role { stop, task: Some(task) }
}
