//! Servers, roles, and ways to look at them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_schemas::position::{Lsn, Position};
use lockstep_stack::{Service, Stack};
use lockstep_tiers::{Place, Read, Tier, Watermark};
use reqwest::StatusCode;
use serde_json::Value as Json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Postgres};
use tokio::runtime::Runtime;

use crate::compare::{self, Fields};
use crate::heard;
use crate::l2;
use crate::roles::{Role, Setting};
use crate::until::until_within;

pub const PRODUCTS: usize = 20;
pub const USERS: usize = 5;
pub const WAIT_MAX: Duration = Duration::from_secs(30);
const SCENARIO_MAX: Duration = Duration::from_secs(180);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
static CHAIN: Mutex<Option<Chain>> = Mutex::new(None);
static ENDED: AtomicUsize = AtomicUsize::new(0);

/// Plays a scenario, alone. Where it fails, what it leaves of the chain goes, and the next one has a new chain.
pub fn play(scenario: impl AsyncFn(&mut Chain)) {
    let mut place = CHAIN.lock().unwrap_or_else(PoisonError::into_inner);
    let is_last = ENDED.fetch_add(1, Ordering::SeqCst) + 1 == crate::SCENARIOS;
    let _tell = heard::TellOnPanic::here();
    let mut chain = place.take().unwrap_or_else(Chain::open);
    let runtime = chain.runtime.clone();
    let played = async {
        chain.stock_up().await;
        scenario(&mut chain).await;
        chain.check().await;
    };
    runtime.block_on(async { tokio::time::timeout(SCENARIO_MAX, played).await }).expect("a scenario within its time");
    if !is_last {
        *place = Some(chain);
    }
}

/// Looks again and again until there is something.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    until_within(WAIT_MAX, what, look).await
}

pub struct Chain {
    pub pool: PgPool,
    pub setting: Setting,
    pub http: reqwest::Client,
    pub ingest: Option<Role>,
    pub engine: Option<Role>,
    _gateway: Role,
    pub stack: Stack,
    pub runtime: Arc<Runtime>,
}

impl Chain {
    fn open() -> Self {
        lockstep_process::install_crypto_provider();
        heard::listen();
        let stack = Stack::start(l2::options(), &mut |line| eprintln!("{line}"));
        let stack = stack.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        let runtime = Arc::new(runtime.expect("a runtime"));
        runtime.clone().block_on(async {
            let pool = PgPoolOptions::new().max_connections(4).connect(&stack.endpoints().database_url).await;
            let pool = pool.expect("a pool");
            MIGRATIONS.run(&pool).await.expect("the shop's tables");
            let setting = Setting::of(stack.endpoints()).await;
            let http = reqwest::Client::builder().timeout(WAIT_MAX).no_proxy().build().expect("a client");
            let (ingest, engine, gateway) = (Some(setting.ingest()), Some(setting.engine()), setting.gateway());
            let chain = Chain { pool, setting, http, ingest, engine, _gateway: gateway, stack, runtime };
            let ready = format!("{}/readyz", chain.stack.endpoints().gateway);
            let look = async || chain.http.get(&ready).send().await.ok()?.status().is_success().then_some(());
            until("the gateway to be ready", look).await;
            chain.announce_hot().await;
            chain
        })
    }

    /// The shop as every scenario finds it: whole, and cached everywhere.
    async fn stock_up(&self) {
        self.execute(
            "INSERT INTO products (product_id, name, description, category, active) \
             SELECT 'P-' || n, 'bowl ' || n, 'a bowl', 'bowls', true FROM generate_series(0, 19) AS n \
             ON CONFLICT (product_id) DO UPDATE SET name = excluded.name, description = excluded.description; \
             INSERT INTO prices (product_id, price_pence) SELECT 'P-' || n, 100 + n FROM generate_series(0, 19) AS n \
             ON CONFLICT (product_id) DO UPDATE SET price_pence = excluded.price_pence; \
             INSERT INTO inventory (product_id, stock) SELECT 'P-' || n, 50 FROM generate_series(0, 19) AS n \
             ON CONFLICT (product_id) DO UPDATE SET stock = excluded.stock; \
             INSERT INTO users (user_id, email, name, created_at) \
             SELECT n, n || '@example.org', 'user ' || n, '2026-02-01 12:00:00.123456Z' FROM generate_series(1, 5) AS n \
             ON CONFLICT (user_id) DO UPDATE SET name = excluded.name",
        )
        .await;
        self.settled().await;
        self.restock().await;
        for n in 0..PRODUCTS {
            self.page(&product(n)).await;
        }
    }

    /// Fills what is missing in L2 and L1.
    pub async fn restock(&self) {
        until("everything to be cached", async || {
            for n in 0..PRODUCTS {
                self.answer(&self.stack.endpoints().gateway, &product(n)).await;
                // The page's answer may have come from L1 alone.
                self.fill("product_all", &product(n)).await;
            }
            for n in 1..=USERS {
                self.fill("profile", &n.to_string()).await;
            }
            let found = compare::entries(self).await;
            (found.l2.len() >= PRODUCTS && found.l1.len() >= PRODUCTS + USERS).then_some(())
        })
        .await;
    }

    /// All products are hot.
    pub async fn announce_hot(&self) {
        let hot: Vec<String> = (0..PRODUCTS).map(product).collect();
        self.setting.announce_hot(&hot).await;
    }

    /// Waits for all tiers, and compares every entry and every page with the database.
    pub async fn check(&self) {
        self.settled().await;
        compare::all(self).await;
    }

    pub async fn execute(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn scalar<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let one = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await;
        one.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Every commit so far ends at or before it.
    pub async fn now(&self) -> Position {
        let epoch: i32 = until("an epoch", async || self.scalar("SELECT max(epoch) FROM lockstep.epoch").await).await;
        let lsn: String = self.scalar("SELECT pg_current_wal_lsn()::text").await;
        Position::before(epoch as u16, lsn.parse::<Lsn>().expect("an LSN"))
    }

    /// Waits until L2 and L1 have applied all that was committed before.
    pub async fn applied(&self) {
        let now = self.now().await;
        until("L2 and L1 to catch up", async || {
            let [l2, l1, customers] = self.marks().await;
            let all = [l2?, l1?, customers?];
            all.iter().all(|mark| mark.position >= now).then_some(())
        })
        .await;
    }

    /// Waits until the edge has been purged of it too.
    pub async fn settled(&self) {
        let now = self.now().await;
        self.applied().await;
        until("the edge to catch up", async || {
            let [l2, ..] = self.marks().await;
            (l2?.l3?.0 >= now).then_some(())
        })
        .await;
    }

    /// The watermarks: the catalogue's on L2 and on L1, the customers' on L1.
    pub async fn marks(&self) -> [Option<Watermark>; 3] {
        let tiers = &self.setting.tiers;
        let of = async |tier: &Tier, group: &str| tier.watermark(&place(group)).await.ok().flatten();
        [of(&tiers.l2, "catalogue").await, of(&tiers.l1, "catalogue").await, of(&tiers.l1, "customers").await]
    }

    /// A product as the edge answers it: status, body, and whether the edge had it.
    pub async fn page(&self, product: &str) -> (StatusCode, Fields, bool) {
        self.answer(&self.stack.endpoints().edge, product).await
    }

    /// Of a product's page, the position that it holds all up to, where the edge had it.
    pub async fn kept_page(&self, product: &str) -> Option<String> {
        let edge = &self.stack.endpoints().edge;
        let answer = self.http.get(format!("{edge}/v1/product/{product}")).send().await.expect("an answer");
        let header = |name| answer.headers().get(name).and_then(|text| text.to_str().ok()).map(str::to_owned);
        header("x-cache").filter(|cache| cache == "HIT").and_then(|_| header("lockstep-position"))
    }

    pub async fn answer(&self, from: &str, product: &str) -> (StatusCode, Fields, bool) {
        let answer = self.http.get(format!("{from}/v1/product/{product}")).send().await.expect("an answer");
        let (status, cached) = (answer.status(), answer.headers().get("x-cache").is_some_and(|known| known == "HIT"));
        let body: Json = answer.json().await.expect("a JSON body");
        (status, compare::fields_of(&body), cached)
    }

    /// Reads an entry of a view that is filled from the database, and fills it where it is missing.
    pub async fn fill(&self, view: &str, entity: &str) {
        let view = &self.setting.policy.views[view];
        self.setting.tiers.get(view, entity).await.expect("an answer");
    }

    /// Whether a reader of L1 is given an entry.
    pub async fn is_hit_on_l1(&self, view: &str, entity: &str) -> bool {
        let view = &self.setting.policy.views[view];
        let read = self.setting.tiers.l1.read(&place(&view.group), &view.key.key(entity), None).await;
        matches!(read, Ok(Read::Hit(_)))
    }

    /// The node of L2 that has the catalogue: the server, and its URL.
    pub async fn l2(&self) -> (Service, String) {
        let watermark = self.setting.tiers.l2.layout().watermark(&place("catalogue"));
        l2::home(self.stack.endpoints(), &watermark).await
    }

    /// Its process.
    pub async fn l2_pid(&self) -> u32 {
        self.stack.endpoints().pids[&self.l2().await.0.to_string()]
    }
}

pub fn place(group: &str) -> Place {
    Place { group: group.into(), partition: 0 }
}

pub fn product(n: usize) -> String {
    format!("P-{n}")
}
