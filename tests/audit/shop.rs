//! A shop whose products and customers are cached everywhere, and somebody who changes them.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lockstep_stack::{Endpoints, Stack, StackOptions};
use redis::Connection;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::runtime::Runtime;

use crate::harness::{Lockstep, Program, until};

pub const PRODUCTS: usize = 120;
/// The first of them, of which every other change is.
pub const BUSY: usize = 5;
pub const USERS: usize = 40;
/// Part of every customer's name, which is private.
pub const NAME: &str = "Amberly";
/// The default: as many series as an installation has.
const PARTITIONS: &str = "128";
const READY_LIMIT: Duration = Duration::from_secs(60);
const PAGE_LIMIT: Duration = Duration::from_secs(20);
/// So quick that a test can wait for it.
const AUDIT: &str = "[audit]\ncycle_s = 20\ncopies_per_second_min = 400\n";
pub const CYCLE: Duration = Duration::from_secs(20);
/// The same, and what is wrong is repaired.
const REPAIRING: &str = "[audit]\ncycle_s = 20\ncopies_per_second_min = 400\nrepair = true\nrepairs_per_second = 50\n";
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// In one transaction of the writer: a tick of 50 of them a second is 1,000 changes a second.
const CHANGES_PER_TRANSACTION: usize = 20;
const TICK: Duration = Duration::from_millis(20);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

pub struct Shop {
    pub lockstep: Lockstep,
    pub pool: PgPool,
    pub runtime: Arc<Runtime>,
    pub http: reqwest::Client,
    roles: Option<Program>,
    /// A replica of L2, which takes writes of its own: a cluster's replica would send them on.
    replica: (Program, String),
    pub stack: Stack,
    folder: tempfile::TempDir,
}

impl Shop {
    pub fn open() -> Self {
        lockstep_process::install_crypto_provider();
        let stack = Stack::start(StackOptions::default(), &mut |line| eprintln!("{line}"));
        let stack = stack.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let folder = tempfile::tempdir().expect("a folder");
        let exports = stack.endpoints().exports();
        std::fs::write(folder.path().join("lockstep.toml"), AUDIT).expect("a configuration");
        std::fs::write(folder.path().join("repairing.toml"), REPAIRING).expect("a configuration");
        let lockstep = Lockstep::new(folder.path()).exports(&exports).set("LOCKSTEP_PARTITIONS", PARTITIONS);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = Arc::new(runtime.expect("a runtime"));
        let pool = runtime.block_on(PgPool::connect(&stack.endpoints().database_url)).expect("a pool");
        runtime.block_on(MIGRATIONS.run(&pool)).expect("the shop's tables");
        let replica = start_replica(stack.endpoints(), &lockstep, folder.path());
        let roles = lockstep.start(&["run", "--role", "ingest,engine,gateway"]);
        let http = reqwest::Client::builder().timeout(PAGE_LIMIT).no_proxy().build().expect("a client");
        let shop = Shop { lockstep, pool, runtime, http, roles: Some(roles), replica, stack, folder };
        shop.is_ready();
        shop.sql(&format!(
            "INSERT INTO products (product_id, name, category) SELECT 'P' || n, 'bowl ' || n, 'bowls' FROM generate_series(1, {PRODUCTS}) n; \
             INSERT INTO prices (product_id, price_pence) SELECT 'P' || n, 100 + n FROM generate_series(1, {PRODUCTS}) n; \
             INSERT INTO inventory (product_id, stock) SELECT 'P' || n, 50 FROM generate_series(1, {PRODUCTS}) n; \
             INSERT INTO users (user_id, email, name) SELECT n, n || '@example.org', '{NAME} ' || n FROM generate_series(1, {USERS}) n; \
             INSERT INTO preferences (user_id, name, value) SELECT n, 'colour', 'red' FROM generate_series(1, {USERS}) n"
        ));
        shop.settle();
        for view in ["product_all", "profile", "cart"] {
            shop.lockstep.ask(&["warm", view]);
        }
        shop.fill_edge();
        shop
    }

    /// Waits for the gateway.
    pub fn is_ready(&self) {
        let ready = format!("{}/readyz", self.endpoints().gateway);
        until("the gateway to be ready", READY_LIMIT, || (self.get(&ready)?.0 == 200).then_some(()));
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    /// The program with a configuration under which what is wrong is repaired.
    pub fn repairing(&self) -> Lockstep {
        self.lockstep.clone().set("LOCKSTEP_CONFIG", "repairing.toml")
    }

    /// A file in the folder of all.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// Ends what runs, and runs these roles instead.
    pub fn run_only(&mut self, roles: &str) {
        let lockstep = self.lockstep.clone();
        self.run_as(&lockstep, roles);
    }

    /// The same, with an environment of their own.
    pub fn run_as(&mut self, lockstep: &Lockstep, roles: &str) {
        if let Some(running) = self.roles.take() {
            running.terminate();
            running.wait(DRAIN_LIMIT);
        }
        self.roles = Some(lockstep.start(&["run", "--role", roles]));
    }

    /// Every product's page at the edge.
    pub fn fill_edge(&self) {
        for n in 1..=PRODUCTS {
            self.get(&self.page(&format!("P{n}")));
        }
    }

    pub fn page(&self, product: &str) -> String {
        format!("{}/v1/product/{product}", self.endpoints().edge)
    }

    /// Has the edge throw a product's page away.
    pub fn purge(&self, product: &str) {
        let purge = reqwest::Method::from_bytes(b"PURGE").expect("a method");
        let purge = self.http.request(purge, self.page(product)).header("xkey-purge", format!("product:{product}"));
        self.runtime.block_on(async { purge.send().await }).expect("a purge");
    }

    /// Status, and whether the edge had it.
    pub fn get(&self, url: &str) -> Option<(u16, bool)> {
        self.runtime.block_on(async {
            let answer = self.http.get(url).send().await.ok()?;
            let had = answer.headers().get("x-cache").is_some_and(|cache| cache == "HIT");
            Some((answer.status().as_u16(), had))
        })
    }

    /// What is answered there, to who accepts a media type.
    pub fn text(&self, url: &str, accept: Option<&str>) -> String {
        let request = self.http.get(url);
        let request = if let Some(accept) = accept { request.header("accept", accept) } else { request };
        let text = async { request.send().await?.text().await };
        self.runtime.block_on(text).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn sql(&self, statements: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&self.pool);
        self.runtime.block_on(done).unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// Waits until every tier has all that was committed.
    pub fn settle(&self) {
        let lsn = sqlx::query_scalar("SELECT pg_current_wal_insert_lsn()::text").fetch_one(&self.pool);
        let lsn: String = self.runtime.block_on(lsn).expect("an LSN");
        for tier in ["l2", "l1", "l3"] {
            self.lockstep.ask(&["wait", "--for", &lsn, "--tier", tier, "--timeout", "30s"]);
        }
    }

    pub fn l2(&self) -> Connection {
        connect(&self.endpoints().l2)
    }

    pub fn l2_replica(&self) -> Connection {
        connect(&self.replica.1)
    }
}

fn start_replica(endpoints: &Endpoints, lockstep: &Lockstep, folder: &Path) -> (Program, String) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let primary = endpoints.l2.trim_start_matches("redis://").trim_end_matches('/');
    let (host, port) = primary.split_once(':').expect("a port");
    let mut command = lockstep.other("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", "", "--appendonly", "no"]);
    command.args(["--replicaof", host, port, "--replica-read-only", "no", "--dir", &folder.display().to_string()]);
    let replica = (Program::start(command), format!("redis://{address}/"));
    let follows = || {
        let mut node = redis::Client::open(&*replica.1).ok()?.get_connection().ok()?;
        let info: String = redis::cmd("INFO").arg("replication").query(&mut node).ok()?;
        info.contains("master_link_status:up").then_some(())
    };
    until("a replica of L2", READY_LIMIT, follows);
    replica
}

pub fn connect(url: &str) -> Connection {
    redis::Client::open(url).expect("a URL").get_connection().expect("a connection")
}

/// Changes prices, stocks and names, and reads pages, until it is told to end.
pub struct Writer {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub fn start(shop: &Shop) -> Self {
        let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (pool, runtime, http) = (shop.pool.clone(), shop.runtime.clone(), shop.http.clone());
        let (gateway, edge) = (shop.endpoints().gateway.clone(), shop.endpoints().edge.clone());
        let (told, counted) = (stop.clone(), changes.clone());
        let write = async move {
            let mut ticks = tokio::time::interval(TICK);
            while !told.load(Ordering::SeqCst) {
                ticks.tick().await;
                let statements: String = (0..CHANGES_PER_TRANSACTION).map(|_| change()).collect();
                sqlx::raw_sql(AssertSqlSafe(statements)).execute(&pool).await.expect("changes");
                counted.fetch_add(CHANGES_PER_TRANSACTION as u64, Ordering::SeqCst);
                let product = || fastrand::usize(1..=PRODUCTS);
                let pages = [
                    format!("{edge}/v1/product/P{}", product()),
                    format!("{gateway}/v1/product/P{}", product()),
                    format!("{gateway}/v1/profile/{}", fastrand::usize(1..=USERS)),
                ];
                for page in pages {
                    tokio::spawn(http.get(page).send());
                }
            }
        };
        let thread = std::thread::spawn(move || runtime.block_on(write));
        Writer { stop, changes, thread }
    }

    /// How many rows it has changed so far.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Ends it: how many rows it has changed.
    pub fn end(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("a writer that went well");
        self.changes.load(Ordering::SeqCst)
    }
}

/// Mostly of few products, so that many a copy is read while its row changes.
fn change() -> String {
    let product = if fastrand::bool() { fastrand::usize(1..=BUSY) } else { fastrand::usize(1..=PRODUCTS) };
    let (user, value) = (fastrand::usize(1..=USERS), fastrand::u32(1..1_000));
    match fastrand::u8(..11) {
        10 => {
            let text = if value % 2 == 0 { "NULL".to_owned() } else { format!("'a bowl, {value}'") };
            format!("UPDATE products SET description = {text} WHERE product_id = 'P{product}';")
        }
        0..4 => format!("UPDATE prices SET price_pence = {value} WHERE product_id = 'P{product}';"),
        4..7 => format!("UPDATE inventory SET stock = {} WHERE product_id = 'P{product}';", value % 3),
        7 => format!("UPDATE users SET name = '{NAME} {value}' WHERE user_id = {user};"),
        8 => format!("UPDATE preferences SET value = '{value}' WHERE user_id = {user};"),
        _ => format!(
            "DELETE FROM inventory WHERE product_id = 'P{product}'; INSERT INTO inventory (product_id, stock) VALUES ('P{product}', {value});"
        ),
    }
}
