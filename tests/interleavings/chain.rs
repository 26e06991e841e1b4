//! Servers and roles of this suite. One lane a group, so that everything meets in it.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_schemas::position::{Lsn, Position};
use lockstep_stack::Stack;
use lockstep_tiers::{Place, Tier, Watermark};
use reqwest::StatusCode;
use serde_json::Value as Json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::{Builder, Runtime};

use crate::compare::{self, Fields};
use crate::heard;
use crate::l2;
use crate::roles::{Role, Setting};
use crate::until::until_within;

/// Few enough that writers and readers meet at each of them all the time.
pub const PRODUCTS: usize = 16;
pub const USERS: usize = 6;
/// The first ones are hot.
const HOT: usize = 10;
pub const WAIT_MAX: Duration = Duration::from_secs(60);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Looks again and again until there is something.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    until_within(WAIT_MAX, what, look).await
}

/// An engine on a runtime of its own, so that it can end between any two of its steps.
struct Engine {
    runtime: Option<Runtime>,
    stop: Shutdown,
}

impl Engine {
    fn start(setting: &Setting) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let stop = Shutdown::new();
        let run = setting.engine_until(stop.clone());
        runtime.spawn(async move {
            if let Err(failure) = run.await {
                eprintln!("the engine failed: {failure}");
            }
        });
        Engine { runtime: Some(runtime), stop }
    }
}

impl Drop for Engine {
    /// Nothing is drained: tasks are dropped where they stand, and only then the thread that reads Kafka is told.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.stop.cancel();
    }
}

pub struct Chain {
    pub pool: PgPool,
    pub setting: Arc<Setting>,
    pub http: reqwest::Client,
    engine: Option<Engine>,
    _roles: [Role; 2],
    pub stack: Stack,
}

impl Chain {
    /// All of it, up and cold.
    pub async fn open() -> Self {
        lockstep_process::install_crypto_provider();
        heard::listen();
        let stack = tokio::task::block_in_place(|| Stack::start(l2::options(), &mut |line| eprintln!("{line}")));
        let stack = stack.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let pool = PgPoolOptions::new().max_connections(4).connect(&stack.endpoints().database_url).await;
        let pool = pool.expect("a pool");
        MIGRATIONS.run(&pool).await.expect("the shop's tables");
        let setting = Arc::new(Setting::of(stack.endpoints()).await);
        let http = reqwest::Client::builder().timeout(WAIT_MAX).no_proxy().build().expect("a client");
        let roles = [setting.ingest(), setting.gateway()];
        let engine = Some(Engine::start(&setting));
        let chain = Chain { pool, setting, http, engine, _roles: roles, stack };
        let ready = format!("{}/readyz", chain.stack.endpoints().gateway);
        let look = async || chain.http.get(&ready).send().await.ok()?.status().is_success().then_some(());
        until("the gateway to be ready", look).await;
        let hot: Vec<String> = (0..HOT).map(product).collect();
        chain.setting.announce_hot(&hot).await;
        chain
    }

    /// The engine ends as by a kill, and another begins.
    pub fn restart_engine(&mut self) {
        self.engine = None;
        self.engine = Some(Engine::start(&self.setting));
    }

    /// A tier's nodes lose all they have, watermarks too.
    pub async fn flush(&self, nodes: &[String]) {
        for url in nodes {
            let mut node = compare::connect(url).await;
            let () = redis::cmd("FLUSHALL").query_async(&mut node).await.expect("flushed");
        }
    }

    /// L1's nodes that are written to.
    pub fn l1(&self) -> &[String] {
        &self.stack.endpoints().l1[..3]
    }

    /// Waits until all tiers have all that was committed before.
    pub async fn settled(&self) {
        let epoch: i32 =
            sqlx::query_scalar("SELECT max(epoch) FROM lockstep.epoch").fetch_one(&self.pool).await.expect("an epoch");
        let lsn: String =
            sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&self.pool).await.expect("an LSN");
        let now = Position::before(epoch as u16, lsn.parse::<Lsn>().expect("an LSN"));
        until("all tiers to catch up", async || {
            let tiers = &self.setting.tiers;
            let l2 = mark(&tiers.l2, "catalogue").await?;
            let others = [mark(&tiers.l1, "catalogue").await?.position, mark(&tiers.l1, "customers").await?.position];
            let all = [l2.position, l2.l3?.0, others[0], others[1]];
            all.iter().all(|position| *position >= now).then_some(())
        })
        .await;
    }

    /// A product as the edge answers it: status, body, and whether the edge had it.
    pub async fn page(&self, product: &str) -> (StatusCode, Fields, bool) {
        let url = format!("{}/v1/product/{product}", self.stack.endpoints().edge);
        let answer = self.http.get(url).send().await.expect("an answer");
        let (status, cached) = (answer.status(), answer.headers().get("x-cache").is_some_and(|known| known == "HIT"));
        let body: Json = answer.json().await.expect("a JSON body");
        (status, compare::fields_of(&body), cached)
    }

    /// The nodes of both tiers that are written to.
    pub fn primaries(&self) -> Vec<String> {
        l2::nodes(self.stack.endpoints()).into_iter().chain(self.l1().iter().cloned()).collect()
    }
}

/// Where a tier stands.
pub async fn mark(tier: &Tier, group: &str) -> Option<Watermark> {
    tier.watermark(&Place { group: group.into(), partition: 0 }).await.ok().flatten()
}

pub fn product(n: usize) -> String {
    format!("P-{n}")
}
