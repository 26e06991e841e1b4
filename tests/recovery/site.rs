//! A shop with every role at work, whose caches can be spoilt.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lockstep_stack::{L1_NODES, StackOptions};
use serde_json::Value;

use crate::harness::{Lockstep, Program, kafka, until};
use crate::shop::{DRAIN_LIMIT, Page, Shop};
use crate::ways::Ways;

pub const PARTITIONS: usize = 4;
pub const PRODUCTS: usize = 40;
/// A price that no product has.
pub const WRONG: i64 = 666;
pub const LIMIT: Duration = Duration::from_secs(60);

/// Rounds of purges follow one another as closely as they may.
const FILE: &str = "[edge]\nresponse_ms_max = 1000\n";

pub struct Site {
    pub shop: Shop,
    /// Every role; but for an engine apart, where there is one.
    pub roles: Program,
    pub engine: Option<Program>,
    /// Serves readers, where it is not among the roles.
    gateway: Option<Program>,
    /// Those of engine and gateway, where they are apart.
    pub ways: Option<Ways>,
    /// `lockstep`, sent by the ways.
    by_ways: Lockstep,
    /// L2, where it is one node; else one of its nodes.
    pub l2: redis::Connection,
    _folder: tempfile::TempDir,
}

impl Site {
    /// Servers, roles, and a catalogue.
    pub fn open() -> Self {
        Site::of(StackOptions::default())
    }

    /// The same, on other servers.
    pub fn of(options: StackOptions) -> Self {
        Site::with("ingest,engine,gateway", options, None)
    }

    /// The same, with an engine that can be killed alone, and ways to engine and gateway that can be cut.
    pub fn open_apart(options: StackOptions) -> Self {
        let ways = Ways::open(L1_NODES);
        Site::with("ingest", ways.options(options), Some(ways))
    }

    fn with(roles: &str, options: StackOptions, ways: Option<Ways>) -> Self {
        let mut shop = Shop::start(options);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lockstep.toml");
        std::fs::write(&file, FILE).expect("a configuration");
        let lockstep = shop.lockstep.clone().set("LOCKSTEP_PARTITIONS", &PARTITIONS.to_string());
        shop.lockstep = lockstep.set("LOCKSTEP_CONFIG", file.to_str().expect("a path"));
        shop.lockstep.ask(&["migrate"]);
        let by_ways = ways.as_ref().map(|ways| {
            ways.lead_to(shop.endpoints());
            shop.announce(&ways.l1.iter().map(|way| way.port).collect::<Vec<_>>());
            ways.send_by(&shop.lockstep, shop.endpoints())
        });
        let roles = shop.lockstep.start(&["run", "--role", roles]);
        let apart = |role| by_ways.as_ref().map(|lockstep| lockstep.start(&["run", "--role", role]));
        let (engine, gateway) = (apart("engine"), apart("gateway"));
        let by_ways = by_ways.unwrap_or_else(|| shop.lockstep.clone());
        let l2 = connect(l2(&shop));
        let site = Site { l2, shop, roles, engine, gateway, ways, by_ways, _folder: folder };
        let ready = || Page::get(&site.shop.endpoints().gateway, "/readyz").filter(Page::is_ok);
        until("the gateway to be ready", LIMIT, ready);
        let last = PRODUCTS - 1;
        site.applied(&format!(
            "INSERT INTO products (product_id, name) SELECT 'P' || n, 'bowl ' || n FROM generate_series(0, {last}) AS n; \
             INSERT INTO prices (product_id, price_pence) SELECT 'P' || n, 100 + n FROM generate_series(0, {last}) AS n; \
             INSERT INTO inventory (product_id, stock) SELECT 'P' || n, 5 FROM generate_series(0, {last}) AS n"
        ));
        site
    }

    /// The roles drain.
    pub fn close(self) {
        for program in [Some(self.roles), self.engine, self.gateway].into_iter().flatten() {
            program.terminate();
            let ended = program.wait(DRAIN_LIMIT);
            assert_eq!(ended.code, Some(0), "{ended}");
        }
    }

    pub fn start_engine(&self) -> Program {
        self.by_ways.start(&["run", "--role", "engine"])
    }

    /// Roles that are on no way of their own are pointed at where `lockstep` points now.
    pub fn restart_roles(&mut self) {
        let roles = self.shop.lockstep.start(&["run", "--role", "ingest"]);
        let before = std::mem::replace(&mut self.roles, roles);
        before.terminate();
        before.wait(LIMIT);
    }

    /// Another gateway takes the place of the one that serves; with a file, its clock follows what stands there, in
    /// libfaketime's form. The clock by which spans are measured stays as it is.
    pub fn restart_gateway(&mut self, clock: Option<&Path>) {
        let before = self.gateway.take().expect("a gateway apart");
        before.terminate();
        assert_eq!(before.wait(DRAIN_LIMIT).code, Some(0));
        let mut lockstep = self.by_ways.clone();
        if let Some(clock) = clock {
            let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
            lockstep = lockstep
                .set("LD_PRELOAD", &library)
                .set("FAKETIME_TIMESTAMP_FILE", clock.to_str().expect("a path"))
                .set("FAKETIME_CACHE_DURATION", "1")
                .set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        self.gateway = Some(lockstep.start(&["run", "--role", "gateway"]));
        let ready = || Page::get(&self.shop.endpoints().gateway, "/readyz").filter(Page::is_ok);
        until("the gateway to be ready", LIMIT, ready);
    }

    /// How long from now, in seconds, a product's entry in L2 says that it was born, once it is filled anew.
    pub fn born(&mut self, product: &str) -> Option<i64> {
        let key = format!("product:all:{product}");
        redis::cmd("UNLINK").arg(&key).exec(&mut self.l2).ok()?;
        Page::get(&self.shop.endpoints().gateway, &path(product))?;
        let born: Option<i64> = redis::cmd("HGET").arg(&key).arg("_born").query(&mut self.l2).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        Some(born? / 1_000_000 - i64::try_from(now.as_secs()).ok()?)
    }

    /// The ways of engine and gateway.
    pub fn ways(&self) -> &Ways {
        self.ways.as_ref().expect("roles apart")
    }

    /// L2 has another process.
    pub fn reconnect(&mut self) {
        self.l2 = connect(l2(&self.shop));
    }

    /// Every node of L2 and L1, and what its entries of products are called.
    pub fn nodes(&self) -> Vec<(String, &'static str)> {
        let endpoints = self.shop.endpoints();
        let l1 = endpoints.l1.iter().map(|url| (url.clone(), "*:product:hot:*"));
        [(endpoints.l2.clone(), "product:all:*")].into_iter().chain(l1).collect()
    }

    /// Some products are hot.
    pub fn announce_hot(&self) {
        let hot: Vec<String> = (0..PRODUCTS / 2).map(|n| format!("P{n}")).collect();
        let value = serde_json::to_vec(&hot).expect("JSON");
        kafka::produce(&self.shop.endpoints().kafka, "lockstep.hot", "product_hot", &[value]);
        until("a hot product in L1", LIMIT, || {
            let page = Page::get(&self.shop.endpoints().gateway, &path("P0"))?;
            (page.header("lockstep-tier") == Some("l1")).then_some(())
        });
    }

    /// What the command prints; it must end well.
    pub fn ask(&self, command: &str) -> String {
        self.shop.lockstep.ask(&command.split(' ').collect::<Vec<_>>())
    }

    pub fn ask_json(&self, command: &str) -> Value {
        let told = self.ask(&format!("{command} -o json"));
        serde_json::from_str(&told).unwrap_or_else(|error| panic!("{command}: {error}: {told}"))
    }

    /// Commits, and waits until L2 has it.
    pub fn applied(&self, statement: &str) {
        let lsn = self.shop.commit(statement);
        self.ask(&format!("wait --for {lsn} --tier l2 --timeout 30s"));
    }

    /// All that was asked for so far has reached L2.
    pub fn settled(&self) {
        self.applied("SELECT 1");
    }

    /// A product's price as the gateway tells it; its entry in L2 is there afterwards.
    pub fn price(&self, product: &str) -> Option<i64> {
        let page = Page::get(&self.shop.endpoints().gateway, &path(product)).expect("an answer of the gateway");
        page.number("price_pence")
    }

    /// The same as the edge tells it, and whether it had it.
    pub fn price_at_edge(&self, product: &str) -> (Option<i64>, bool) {
        let page = Page::get(&self.shop.endpoints().edge, &path(product)).expect("an answer of the edge");
        (page.number("price_pence"), page.header("x-cache") == Some("HIT"))
    }

    /// Makes the entry in L2 wrong, behind everybody's back: no change will ever say so.
    pub fn spoil(&mut self, product: &str) {
        let right = self.price(product);
        assert!(right.is_some() && right != Some(WRONG), "{product} has an entry that is right");
        let key = format!("product:all:{product}");
        let known: bool = redis::cmd("HEXISTS").arg(&key).arg("price_pence").query(&mut self.l2).expect("an answer");
        assert!(known, "{key} is there");
        redis::cmd("HSET").arg(&key).arg("price_pence").arg(WRONG).exec(&mut self.l2).expect("a write");
        assert_eq!(self.price(product), Some(WRONG), "{product} is wrong for readers");
    }
}

fn l2(shop: &Shop) -> &str {
    let endpoints = shop.endpoints();
    endpoints.l2_nodes.first().unwrap_or(&endpoints.l2)
}

pub fn connect(url: &str) -> redis::Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("a node")
}

pub fn path(product: &str) -> String {
    format!("/v1/product/{product}")
}

/// The price that the database has at first.
pub fn first_price(n: usize) -> Option<i64> {
    Some(100 + n as i64)
}
