//! A shop with an ingest, and what is forecast for it.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use lockstep_schemas::avro::unframe;
use lockstep_schemas::scores::Score;
use lockstep_schemas::topics::{self, Topic};
use lockstep_stack::{Endpoints, Service, Services, Stack, StackOptions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::Value;

use crate::harness::program::Program;
use crate::harness::{Lockstep, kafka, until};

/// Nothing that has to happen may take longer, on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(120);
const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
const PRODUCTS: u32 = 60;
pub const PARTITIONS: u32 = 4;
/// Hours since 1970 of the shop's first hour: a Monday's midnight.
pub const FIRST_HOUR: i64 = 473_352;

/// The servers and the programs.
pub struct Shop {
    stack: Stack,
    lockstep: Lockstep,
    _ingest: Program,
    _folder: tempfile::TempDir,
}

impl Shop {
    /// Without tiers.
    pub fn open() -> Self {
        Self::with(Services { postgres: true, kafka: true, ..Services::NONE })
    }

    /// With L2 and L1, for the warmer.
    pub fn with_tiers() -> Self {
        Self::with(Services { varnish: false, ..Services::default() })
    }

    fn with(services: Services) -> Self {
        lockstep_process::install_crypto_provider();
        let stack = Stack::start(StackOptions { services, ..StackOptions::default() }, &mut |line| eprintln!("{line}"));
        let stack = stack.expect("a stack");
        let folder = tempfile::tempdir().expect("a folder");
        let lockstep = Lockstep::new(folder.path())
            .exports(&stack.endpoints().exports())
            .set("LOCKSTEP_PARTITIONS", &PARTITIONS.to_string());
        lockstep.ask(&["migrate"]);
        let ingest = lockstep.start(&["run", "--role", "ingest"]);
        // What was written before the slot was there is not in the log.
        ingest.line("streaming", WAIT_MAX, |line| line.contains(" streaming").then_some(()));
        let shop = Shop { stack, lockstep, _ingest: ingest, _folder: folder };
        shop.sql(&format!(
            "INSERT INTO products (product_id, name) SELECT 'P' || n, 'x' FROM generate_series(0, {}) n",
            PRODUCTS - 1
        ));
        shop
    }

    /// With all of them, for the whole chain.
    pub fn whole() -> Self {
        Self::with(Services::default())
    }

    /// The policy of the roles that are started from now on.
    pub fn set_policy(&mut self, text: &str) {
        let path = self._folder.path().join("policy.toml");
        std::fs::write(&path, text).expect("written");
        self.lockstep = self.lockstep.clone().set("LOCKSTEP_POLICY", &path.display().to_string());
    }

    pub fn kill(&mut self, service: Service) {
        self.stack.kill(service).expect("a killed service");
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    /// Where the gateway listens.
    pub fn gateway(&self) -> String {
        self.endpoints().gateway.trim_start_matches("http://").to_owned()
    }

    pub fn ask(&self, arguments: &[&str]) -> String {
        self.lockstep.ask(arguments)
    }

    /// The same with a file beside it.
    pub fn ask_with_file(&self, name: &str, text: &str, arguments: &[&str]) -> String {
        std::fs::write(self._folder.path().join(name), text).expect("written");
        self.ask(arguments)
    }

    pub fn role_with(&self, role: &str, settings: &[(&str, &str)]) -> Program {
        let lockstep = settings.iter().fold(self.lockstep.clone(), |lockstep, (name, value)| lockstep.set(name, value));
        lockstep.start(&["run", "--role", role])
    }

    pub fn forecast(&self) -> Program {
        self.role("forecast")
    }

    pub fn role(&self, role: &str) -> Program {
        self.lockstep.start(&["run", "--role", role])
    }

    pub fn kafka(&self) -> &str {
        &self.stack.endpoints().kafka
    }

    /// The JSON values of a topic of one partition, all that are in it now.
    pub fn values(&self, topic: Topic) -> Vec<Value> {
        let name = topic.name(&kafka::config(self.kafka()));
        self.records(&name).iter().filter_map(|value| serde_json::from_slice(value).ok()).collect()
    }

    fn records(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", self.kafka()).set("group.id", "test-values");
        let consumer: BaseConsumer = settings.create().expect("a consumer");
        let Ok((oldest, end)) = consumer.fetch_watermarks(topic, 0, Duration::from_secs(5)) else { return Vec::new() };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(oldest)).expect("a partition");
        consumer.assign(&list).expect("an assignment");
        let mut values = Vec::new();
        let mut next = oldest;
        while next < end {
            let Some(Ok(record)) = consumer.poll(Duration::from_secs(2)) else { break };
            next = record.offset() + 1;
            values.extend(record.payload().map(<[u8]>::to_vec));
        }
        values
    }

    /// Sells one order an hour, each of the products that [`sold_in`] names, committed hour by hour.
    pub fn sell(&self, hours: std::ops::Range<i64>) {
        let mut statements = String::new();
        for hour in hours {
            let placed_at = format!("to_timestamp({})", (FIRST_HOUR + hour) * 3_600 + 60);
            for (order, products) in sold_in(hour).chunks(8).enumerate() {
                let id = hour * 100 + order as i64;
                let lines: Vec<String> = (1..)
                    .zip(products)
                    .map(|(no, product)| format!("({id}, {no}, '{product}', 1, 100, {placed_at})"))
                    .collect();
                statements.push_str(&format!(
                    "BEGIN; INSERT INTO orders (order_id, placed_at) VALUES ({id}, {placed_at}); \
                     INSERT INTO order_lines VALUES {}; COMMIT;\n",
                    lines.join(", ")
                ));
            }
        }
        self.sql(&statements);
    }

    pub fn sql(&self, statements: &str) {
        let file = self._folder.path().join("statements.sql");
        std::fs::write(&file, statements).expect("written");
        let mut psql = Command::new(PSQL);
        psql.args([&self.stack.endpoints().database_url, "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file);
        let ended = psql.output().expect("psql runs");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    /// The newest forecast, by product; nothing before the first.
    pub fn newest_scores(&self) -> BTreeMap<String, Score> {
        let mut newest: BTreeMap<String, Score> = BTreeMap::new();
        for record in self.records(topics::SCORES.base_name()) {
            let (_, body) = unframe(&record).expect("a frame");
            let Ok(score) = Score::decode(body) else { continue };
            newest.insert(score.product.clone(), score);
        }
        newest
    }

    /// The newest forecast that satisfies `wanted`, by product, once there is one.
    pub fn scores(&self, what: &str, wanted: impl Fn(&BTreeMap<String, Score>) -> bool) -> BTreeMap<String, Score> {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", &self.stack.endpoints().kafka).set("group.id", "test-scores");
        let consumer: BaseConsumer = settings.create().expect("a consumer");
        until("the topic", WAIT_MAX, || {
            consumer.fetch_watermarks(topics::SCORES.base_name(), 0, Duration::from_secs(5)).ok()
        });
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topics::SCORES.base_name(), 0, Offset::Beginning).expect("a partition");
        consumer.assign(&list).expect("an assignment");
        let mut forecast: BTreeMap<String, Score> = BTreeMap::new();
        until(what, WAIT_MAX, || {
            while let Some(record) = consumer.poll(Duration::from_millis(300)) {
                let Ok(record) = record else { continue };
                let (_, body) = unframe(record.payload().unwrap_or_default()).expect("a frame");
                let score = Score::decode(body).expect("a score");
                if forecast.values().next().is_some_and(|other| other.made_at != score.made_at) {
                    forecast.clear();
                }
                forecast.insert(score.product.clone(), score);
            }
            wanted(&forecast).then(|| forecast.clone())
        })
    }
}

/// What is sold in an hour: fashions of a few hours, so that the shortest half-lives are right by far.
pub fn sold_in(hour: i64) -> Vec<String> {
    let random = &mut fastrand::Rng::with_seed(hour.unsigned_abs());
    (0..20).map(|_| format!("P{}", (hour * 2 + random.i64(0..6)).rem_euclid(PRODUCTS.into()))).collect()
}
