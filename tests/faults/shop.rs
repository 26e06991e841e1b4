//! A shop between real servers, with a way to each that can be cut, and the program that carries its log.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lockstep_process::config::{Config, ConfigArgs, KafkaConfig};
use lockstep_schemas::position::Lsn;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_stack::{Services, Stack, StackOptions};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::runtime::Runtime;

use crate::harness::cut::Cut;
use crate::harness::{Lockstep, until};
use crate::ingest::{Ingest, STREAMING};
use crate::tables::{GROUPS, POLICY, TABLES_SQL};

pub const PARTITIONS: u32 = 4;
/// Nothing that has to happen may take longer, on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(180);
const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";

/// Servers, the ways to them, and `lockstep` pointed at both.
pub struct Shop {
    pub stack: Stack,
    /// Leads to PostgreSQL.
    pub database: Cut,
    /// Leads to Kafka.
    pub kafka: Cut,
    pub runtime: Runtime,
    lockstep: Lockstep,
    reader: KafkaConfig,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Shop {
    /// Waits for its turn: two shops side by side would only take each other's time. The tiers are there for
    /// `lockstep status`.
    pub fn open() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        lockstep_process::install_crypto_provider();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (database, kafka) = (Cut::open(runtime.handle()), Cut::open(runtime.handle()));
        let services = Services { varnish: false, ..Services::default() };
        let options = StackOptions { services, kafka_proxy_port: Some(kafka.port), ..StackOptions::default() };
        let stack = Stack::start(options, &mut |line| eprintln!("{line}"));
        let stack = stack.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let endpoints = stack.endpoints();
        kafka.lead_to(&endpoints.kafka_behind_proxy);
        database.lead_to(&host_of(&endpoints.database_url));
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("policy.toml"), POLICY).expect("a written policy");
        let lockstep = Lockstep::new(folder.path()).exports(&endpoints.exports());
        let lockstep = lockstep.set("LOCKSTEP_PARTITIONS", &PARTITIONS.to_string());
        let brokers = Some(endpoints.kafka.clone());
        let config = Config::load(&ConfigArgs { kafka_brokers: brokers, ..ConfigArgs::default() });
        let reader = config.expect("a configuration").kafka().expect("Kafka").clone();
        let shop = Shop { stack, database, kafka, runtime, lockstep, reader, _folder: folder, _turn: turn };
        shop.sql(TABLES_SQL);
        shop.sql(&shop.lockstep.ask(&["setup", "--print-sql"]));
        shop
    }

    /// Ingest, on a direct way to both servers.
    pub fn ingest(&self) -> Ingest {
        Ingest::of(self.lockstep.start(&["run", "--role", "ingest"]))
    }

    /// Ingest on the ways that can be cut.
    pub fn ingest_by_the_ways(&self) -> Ingest {
        let url = &self.stack.endpoints().database_url;
        let url = url.replace(&host_of(url), &format!("127.0.0.1:{}", self.database.port));
        let lockstep = self.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &url);
        let lockstep = lockstep.set("LOCKSTEP_KAFKA_BROKERS", &format!("127.0.0.1:{}", self.kafka.port));
        Ingest::of(lockstep.start(&["run", "--role", "ingest"]))
    }

    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.lockstep.ask(&["status", "-o", "json"])).expect("JSON")
    }

    pub fn sql(&self, statement: &str) -> String {
        self.try_sql(statement).unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    pub fn try_sql(&self, statement: &str) -> Result<String, String> {
        let mut psql = Command::new(PSQL);
        psql.args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", &self.stack.endpoints().database_url, "-c", statement]);
        let output = psql.output().expect("psql");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// The server's process that streams from our slot.
    pub fn streaming_pid(&self) -> Option<u32> {
        // A slot that is still being made is active too.
        let streams = "SELECT max(pid) FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
                       WHERE slot_name = 'lockstep'";
        self.try_sql(streams).ok()?.parse().ok()
    }

    pub fn until_streaming(&self) -> u32 {
        until("the log to be streamed", WAIT_MAX, || self.streaming_pid())
    }

    /// The newest progress; `None` where there is none, or Kafka does not answer.
    pub fn progress(&self) -> Option<Progress> {
        self.runtime.block_on(async {
            let mut tail = Tail::open(&self.reader, "test-progress", topics::PROGRESS, Begin::Newest).await.ok()?;
            let message = tail.next_before_end().await.ok()??;
            Progress::from_json(message.payload()?).ok()
        })
    }

    /// Ingest that streams, and has noted once how far it is: what interrupts it from now on is no doubt of the history.
    pub fn streaming_ingest(&self) -> Ingest {
        let ingest = self.ingest_by_the_ways();
        ingest.says(STREAMING, 0);
        let noted = || (self.ends(&topics::CHECKPOINT.name(&self.reader), 1)[0] > 0).then_some(());
        until("the first checkpoint", WAIT_MAX, noted);
        ingest
    }

    /// The newest epoch; 0 where there is none.
    pub fn epoch(&self) -> u16 {
        self.sql("SELECT coalesce(max(epoch), 0) FROM lockstep.epoch").parse().expect("an epoch")
    }

    /// Waits until everything that is committed by now is said to be in Kafka.
    pub fn until_complete(&self) -> Progress {
        let epoch = until("an epoch", WAIT_MAX, || Some(self.epoch()).filter(|epoch| *epoch > 0));
        let now: Lsn = self.sql("SELECT pg_current_wal_lsn()").parse().expect("an LSN");
        let began = Instant::now();
        let complete = until("everything to be in Kafka", WAIT_MAX, || {
            self.progress().filter(|progress| progress.position.epoch >= epoch && progress.position.lsn >= now)
        });
        eprintln!("complete after {:.1} s", began.elapsed().as_secs_f64());
        complete
    }

    pub fn reader(&self) -> &KafkaConfig {
        &self.reader
    }

    /// The end of each partition of a topic.
    pub fn ends(&self, topic: &str, partitions: u32) -> Vec<i64> {
        let consumer: BaseConsumer = topics::reader(&self.reader, "test-ends").create().expect("a consumer");
        let end = |partition| consumer.fetch_watermarks(topic, partition, WAIT_MAX).expect("an end").1;
        (0..partitions as i32).map(end).collect()
    }

    /// Records of all groups.
    pub fn records(&self) -> i64 {
        GROUPS.iter().flat_map(|group| self.ends(&topics::of_group(&self.reader, group), PARTITIONS)).sum()
    }

    pub fn pid(&self, service: &str) -> u32 {
        self.stack.endpoints().pids[service]
    }
}

fn host_of(url: &str) -> String {
    let rest = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}
