//! The chain as it runs: every role a process of its own, a table of products, and all of them in both tiers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_process::config::{Config, ConfigArgs, KafkaConfig, Url};
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Lsn;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_tiers::{Layout, Place, Tier, Watermark};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sqlx::Executor as _;
use sqlx::postgres::PgPool;

use super::catalogue::{GROUP, VIEWS, both_tiers};
use crate::bench::products;
use crate::database;
use crate::demo::lockstep::Lockstep;
use crate::demo::output::Output;
use crate::demo::roles::Role;
use crate::demo::roles::process::{Launcher, RoleProcess};
use crate::demo::servers::Servers;
use crate::demo::{PARTITIONS, ready};

pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(50);
pub(super) const WAIT_MAX: Duration = Duration::from_secs(300);
const ENDS_WAIT_MAX: Duration = Duration::from_secs(10);
/// Where the reference reads the same log.
pub(super) const SLOT: &str = "bench_reference";

/// The chain with ingest at work, and no other role.
pub(super) struct Chain {
    pub database_url: String,
    pub kafka: KafkaConfig,
    pub policy: Arc<Policy>,
    pub ingest: RoleProcess,
    pub lockstep: Lockstep,
    products: u32,
    pub pool: PgPool,
    launcher: Launcher,
    tiers: [Tier; 2],
}

/// What all watermarks of one look say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// Of L2's partitions, then of L1's, the log's offset.
    pub offsets: Vec<i64>,
    pub dropped: u64,
}

impl Chain {
    /// Opens it: by its end every product has been filled into both tiers, and the engine is gone again.
    pub async fn open(servers: &Servers, count: u32, output: &Output) -> Result<Self> {
        database::migrate(&servers.database_url).await?;
        let pool = PgPool::connect(&servers.database_url).await?;
        products::create(&pool, count).await.context("create the products")?;
        pool.execute("ALTER PUBLICATION lockstep ADD TABLE bench_products").await?;
        let args = ConfigArgs { kafka_brokers: Some(servers.kafka.clone()), ..ConfigArgs::default() };
        let policy = Policy::parse(&both_tiers()).context("the bench's policy")?;
        let lockstep = pointed(servers)?;
        let launcher = Launcher::start(lockstep.clone(), &servers.folder.join("logs"))?;
        let ingest = launcher.launch(Role::Ingest).await?;
        ready::streaming(&pool).await.with_context(|| ingest.last_lines())?;
        let chain = Chain {
            database_url: servers.database_url.clone(),
            kafka: Config::load(&args)?.kafka()?.clone(),
            tiers: tiers(servers, &policy).await?,
            policy: Arc::new(policy),
            ingest,
            products: count,
            pool,
            launcher,
            lockstep: lockstep.clone(),
        };
        chain.warm(&lockstep, output).await?;
        chain.pool.execute("SELECT pg_create_logical_replication_slot('bench_reference', 'pgoutput')").await?;
        Ok(chain)
    }

    async fn warm(&self, lockstep: &Lockstep, output: &Output) -> Result<()> {
        let mut engine = self.launch(Role::Engine).await?;
        let opened = async {
            while self.reached().await?.is_none() {}
            anyhow::Ok(())
        };
        tokio::time::timeout(WAIT_MAX, opened).await.with_context(|| engine.last_lines())??;
        for view in VIEWS {
            output.line(format!("filling {view}"));
            lockstep.warm(view).await?;
        }
        engine.kill().await;
        Ok(())
    }

    pub async fn launch(&self, role: Role) -> Result<RoleProcess> {
        self.launcher.launch(role).await
    }

    /// Changes so many rows, each in a transaction of its own; returns the log's end, once ingest has published it all.
    pub async fn change(&self, count: u32) -> Result<String> {
        let end = products::update(&self.pool, count, self.products).await.context("change rows")?;
        let lsn: Lsn = end.parse()?;
        let mut progress = Tail::open(&self.kafka, "bench", topics::PROGRESS, Begin::Newest).await?;
        let published = async {
            loop {
                let record = progress.next().await?;
                if Progress::from_json(record.payload().unwrap_or_default())?.position.lsn >= lsn {
                    return anyhow::Ok(());
                }
            }
        };
        tokio::time::timeout(WAIT_MAX, published).await.with_context(|| self.ingest.last_lines())??;
        Ok(end)
    }

    /// The next offset of each partition.
    pub async fn ends(&self) -> Result<Vec<i64>> {
        let (config, topic) = (topics::reader(&self.kafka, "bench-ends"), topics::of_group(&self.kafka, GROUP));
        let ends = move || {
            let consumer: BaseConsumer = config.create()?;
            let end = |partition| consumer.fetch_watermarks(&topic, partition, ENDS_WAIT_MAX);
            (0..PARTITIONS as i32).map(|partition| Ok(end(partition)?.1)).collect()
        };
        tokio::task::spawn_blocking(ends).await?
    }

    /// How far the tiers have come; `None` where a partition has no watermark yet. It takes one look's time.
    pub async fn reached(&self) -> Result<Option<Reached>> {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let mut reached = Reached { offsets: Vec::new(), dropped: 0 };
        for tier in &self.tiers {
            for partition in 0..PARTITIONS as u32 {
                let place = Place { group: GROUP.into(), partition };
                let Some(Watermark { offset, dropped, .. }) = tier.watermark(&place).await? else { return Ok(None) };
                reached.offsets.push(offset);
                reached.dropped += dropped;
            }
        }
        Ok(Some(reached))
    }
}

/// This program, with the bench's policy.
fn pointed(servers: &Servers) -> Result<Lockstep> {
    let path: PathBuf = servers.folder.join("bench-policy.toml");
    std::fs::write(&path, both_tiers()).context("write the policy")?;
    let mut lockstep = servers.lockstep()?;
    lockstep.environment.push(("LOCKSTEP_POLICY".to_owned(), path.display().to_string()));
    Ok(lockstep)
}

async fn tiers(servers: &Servers, policy: &Policy) -> Result<[Tier; 2]> {
    let layout = Arc::new(Layout::new(policy, "", PARTITIONS as u32));
    let redis = |url: &String| Url::parse("Redis", url, &["redis"]);
    let l1: Vec<Url> = servers.l1_urls.iter().map(redis).collect::<Result<_, _>>()?;
    let l2 = Tier::node(TierName::L2, &redis(&servers.l2_url)?, layout.clone()).await?;
    Ok([l2, Tier::cluster(TierName::L1, &l1, layout).await?])
}
