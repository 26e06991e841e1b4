//! A shop's database and its log, with ingest between them in this process.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::config::{Config, ConfigArgs, KafkaConfig, Url};
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::policy::{DEFAULT, Policy};
use lockstep_schemas::position::Lsn;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::preflight::{self, Check};
use lockstep_stack::{PostgresVersion, Service, Services, Stack, StackOptions};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::log::{Log, Seen};
use crate::snapshots::PACE;

/// Several, so that a record can be in the wrong one.
pub const PARTITIONS: u32 = 8;
/// Nothing here takes longer, on a busy machine.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Which PostgreSQL the tests run on: 15, or 18.
const POSTGRES: &str = "LOCKSTEP_TEST_POSTGRES";

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// A shop that several tests share, with ingest running.
pub struct Shared {
    open: fn() -> Shop,
    state: Mutex<(Option<Arc<Shop>>, usize)>,
}

impl Shared {
    /// `tests` of them will come.
    pub const fn new(open: fn() -> Shop, tests: usize) -> Self {
        Shared { open, state: Mutex::new((None, tests)) }
    }

    pub fn run(&self, test: impl AsyncFn(&Shop)) {
        let _last = Last(self);
        let shop = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let open = || {
                let shop = (self.open)();
                let ingest = shop.runtime.block_on(shop.start());
                *shop.sharing.lock().unwrap_or_else(PoisonError::into_inner) = Some(ingest);
                Arc::new(shop)
            };
            state.0.get_or_insert_with(open).clone()
        };
        shop.run(test);
    }
}

/// The last test to end closes the shop. (Where only some run, the process's end does.)
struct Last<'s>(&'s Shared);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 -= 1;
        let closing = if state.1 == 0 { state.0.take() } else { None };
        drop(state);
        drop(closing);
    }
}

/// Ingest, at work.
pub struct Ingest {
    stop: Shutdown,
    task: JoinHandle<Result<(), Failure>>,
}

impl Ingest {
    /// Ends it in the middle of whatever it does.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Stops it as a signal would.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(WAIT_MAX, self.task).await.expect("an end in time");
        ended.expect("no panic").expect("no failure");
    }
}

/// Servers, and ways to them.
pub struct Shop {
    pub pool: PgPool,
    pub kafka: KafkaConfig,
    config: Config,
    policy: Policy,
    sharing: Mutex<Option<Ingest>>,
    runtime: Runtime,
    stack: Stack,
}

impl Shop {
    /// The demo's shop.
    pub fn open() -> Self {
        Self::with(DEFAULT, "", &[])
    }

    /// Starts the servers with these settings of PostgreSQL, and makes the tables: the demo's, and what `sql` makes.
    pub fn with(policy: &str, sql: &str, settings: &[(&str, &str)]) -> Self {
        lockstep_process::install_crypto_provider();
        let services = Services { postgres: true, kafka: true, ..Services::NONE };
        let postgres_settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let postgres_version = postgres_version();
        let options = StackOptions { services, postgres_settings, postgres_version, ..StackOptions::default() };
        let stack = Stack::start(options, &mut |line| eprintln!("{line}"));
        let stack = stack.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let endpoints = stack.endpoints();
        let file = endpoints.dir.join("lockstep.toml");
        let text = format!(
            "[database]\nsignal_table = \"public.debezium_signal\"\n[ingest]\nsnapshot_rows_per_second = {PACE}\n"
        );
        std::fs::write(&file, text).expect("a configuration");
        let arguments = ConfigArgs {
            config: Some(file),
            database_url: Some(endpoints.database_url.clone()),
            kafka_brokers: Some(endpoints.kafka.clone()),
            partitions: Some(PARTITIONS),
            ..ConfigArgs::default()
        };
        let config = Config::load(&arguments).expect("a configuration");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let pool = runtime.block_on(async {
            let pool = PgPoolOptions::new().max_connections(4).connect(&endpoints.database_url).await.expect("a pool");
            MIGRATIONS.run(&pool).await.expect("the shop's tables");
            let made = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&pool).await;
            made.expect("the test's own tables");
            pool
        });
        let kafka = config.kafka().expect("Kafka").clone();
        let policy = Policy::parse(policy).expect("a policy");
        Shop { pool, kafka, config, policy, sharing: Mutex::default(), runtime, stack }
    }

    /// Each epoch begins with a snapshot.
    pub fn with_snapshots(mut self) -> Self {
        self.config.ingest.snapshot_initial = true;
        self
    }

    /// Something is done to the data directory of a server that was killed, and is started again.
    pub fn while_postgres_is_down(&mut self, change: impl FnOnce(&Path)) {
        self.stack.kill(Service::Postgres).expect("a server");
        change(&self.stack.endpoints().dir.join("postgresql"));
        self.stack.restart(Service::Postgres).expect("a server again");
    }

    /// Whether this stands in PostgreSQL's own log.
    pub fn postgres_said(&self, what: &str) -> bool {
        let log = self.stack.endpoints().dir.join("logs/postgresql.log");
        std::fs::read_to_string(log).expect("PostgreSQL's log").contains(what)
    }

    pub fn run(&self, test: impl AsyncFn(&Shop)) {
        self.runtime.block_on(test(self));
    }

    /// Starts ingest and waits until it streams.
    pub async fn start(&self) -> Ingest {
        let ingest = self.launch();
        self.until("ingest to stream", async || self.streaming_pid().await).await;
        ingest
    }

    /// Starts ingest.
    pub fn launch(&self) -> Ingest {
        let (config, policy, stop) = (self.config.clone(), self.policy.clone(), Shutdown::new());
        let until = stop.clone();
        let task =
            tokio::spawn(async move { lockstep_ingest::run(&config, &policy, &Metrics::default(), until).await });
        Ingest { stop, task }
    }

    /// The server's process that streams from our slot.
    pub async fn streaming_pid(&self) -> Option<i32> {
        // A slot that is still being made is active too.
        let streams = "SELECT max(pid) FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid \
                       WHERE slot_name = 'lockstep'";
        self.scalar(streams).await
    }

    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.policy.groups.keys().map(|name| &**name)
    }

    /// Looks again and again until there is something.
    pub async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::time::timeout(WAIT_MAX, found).await.unwrap_or_else(|_| panic!("waited {WAIT_MAX:?} for {what}"))
    }

    pub async fn scalar<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>,
    {
        let one = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&self.pool).await;
        one.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn lsn(&self, sql: &str) -> Lsn {
        self.scalar::<String>(sql).await.parse().expect("an LSN")
    }

    /// Every commit so far ends at or before it.
    pub async fn now(&self) -> Lsn {
        self.lsn("SELECT pg_current_wal_lsn()::text").await
    }

    /// Up to here PostgreSQL may forget.
    pub async fn acknowledged(&self) -> Lsn {
        self.lsn("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'lockstep'").await
    }

    pub async fn execute(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Begins a transaction with these statements in it; its id, low 32 bits, as the log has it.
    pub async fn begin(&self, statements: &str) -> (Transaction<'_, Postgres>, u32) {
        let mut transaction = self.pool.begin().await.expect("a transaction");
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *transaction).await;
        done.unwrap_or_else(|error| panic!("{statements}: {error}"));
        let xid: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
            .fetch_one(&mut *transaction)
            .await
            .expect("its id");
        (transaction, xid as u32)
    }

    /// Commits statements as one transaction, and reads what the log has of it, in the log's order.
    pub async fn commit(&self, statements: &str) -> Vec<Seen> {
        let (transaction, xid) = self.begin(statements).await;
        transaction.commit().await.expect("a commit");
        self.log_now().await.of(xid)
    }

    /// Commits each of these as a transaction of its own when the one before is in the log, and reads what that has of each.
    pub async fn commit_all(&self, transactions: &[&str]) -> Vec<Vec<Seen>> {
        let (mut xids, mut progress) = (Vec::new(), self.progress().await);
        for statements in transactions {
            let (transaction, xid) = self.begin(statements).await;
            transaction.commit().await.unwrap_or_else(|error| panic!("{statements}: {error}"));
            past(&mut progress, self.now().await, WAIT_MAX).await;
            xids.push(xid);
        }
        let log = self.log_now().await;
        xids.into_iter().map(|xid| log.of(xid)).collect()
    }

    /// The whole log, with everything in it that has been committed so far.
    pub async fn log_now(&self) -> Log {
        let progress = self.progress_past(self.now().await).await;
        Log::read(&self.kafka, &progress.next).await
    }

    /// The first progress that says that everything before an LSN is in the log.
    pub async fn progress_past(&self, lsn: Lsn) -> Progress {
        self.progress_past_within(lsn, WAIT_MAX).await
    }

    pub async fn progress_past_within(&self, lsn: Lsn, wait_max: Duration) -> Progress {
        past(&mut self.progress().await, lsn, wait_max).await
    }

    /// The database, as ingest and the commands ask it.
    pub async fn database(&self) -> Database {
        Database::connect(self.config.database().expect("a database"), "test-database").await.expect("the database")
    }

    /// As another role has it.
    pub async fn database_as(&self, role: &str) -> Database {
        let mut config = self.config.database().expect("a database").clone();
        let url = self.database_url().replace("//postgres@", &format!("//{role}@"));
        config.url = Url::parse("the database", &url, &["postgres"]).expect("a URL");
        Database::connect(&config, "test-database").await.expect("the database")
    }

    pub fn database_url(&self) -> &str {
        &self.stack.endpoints().database_url
    }

    /// What `lockstep check` says of the database, with this publication.
    pub async fn checks(&self, publication: &str) -> Vec<Check> {
        self.checks_of(&self.policy, publication).await
    }

    /// And with this policy.
    pub async fn checks_of(&self, policy: &Policy, publication: &str) -> Vec<Check> {
        self.checks_by(&self.database().await, policy, publication).await
    }

    /// And to another role.
    pub async fn checks_by(&self, database: &Database, policy: &Policy, publication: &str) -> Vec<Check> {
        let mut config = self.config.database().expect("a database").clone();
        config.publication = publication.to_owned();
        preflight::checks(database, &config, policy).await
    }

    pub fn policy_tables(&self) -> impl Iterator<Item = &str> {
        self.policy.groups.values().flat_map(|group| &group.tables).map(|table| &**table)
    }

    /// Every progress record so far.
    pub async fn all_progress(&self) -> Vec<Progress> {
        let tail = Tail::open(&self.kafka, "test-progress", topics::PROGRESS, Begin::Oldest).await;
        let (mut tail, mut all) = (tail.expect("the progress topic"), Vec::new());
        while let Some(message) = tail.next_before_end().await.expect("the progress topic") {
            all.push(Progress::from_json(message.payload().expect("a value")).expect("progress"));
        }
        all
    }

    /// Progress from the newest record on.
    pub async fn progress(&self) -> Tail {
        Tail::open(&self.kafka, "test-progress", topics::PROGRESS, Begin::Newest).await.expect("the progress topic")
    }

    /// The end of each partition of a group's topic.
    pub fn ends(&self, group: &str) -> Vec<i64> {
        let consumer: BaseConsumer = topics::reader(&self.kafka, "test-ends").create().expect("a consumer");
        let topic = topics::of_group(&self.kafka, group);
        let end = |partition| consumer.fetch_watermarks(&topic, partition, WAIT_MAX);
        (0..PARTITIONS as i32).map(|partition| end(partition).expect("an end").1).collect()
    }

    /// Holds the broker until the guard is dropped: it is there, and does not answer.
    pub fn hold_kafka(&self) -> Held {
        let held = Held(self.stack.endpoints().pids["kafka"]);
        held.signal("-STOP");
        held
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let ingest = self.sharing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ingest) = ingest {
            self.runtime.block_on(ingest.stop());
        }
    }
}

fn postgres_version() -> PostgresVersion {
    match std::env::var(POSTGRES).as_deref() {
        Ok("18") => PostgresVersion::V18,
        Ok("15") | Err(std::env::VarError::NotPresent) => PostgresVersion::V15,
        other => panic!("{POSTGRES} is 15 or 18, not {other:?}"),
    }
}

/// The first progress that says that everything before an LSN is in the log.
async fn past(tail: &mut Tail, lsn: Lsn, wait_max: Duration) -> Progress {
    let found = async {
        loop {
            let progress = next_progress(tail).await;
            if progress.position.lsn >= lsn {
                return progress;
            }
        }
    };
    tokio::time::timeout(wait_max, found).await.unwrap_or_else(|_| panic!("waited {wait_max:?} for progress"))
}

pub async fn next_progress(tail: &mut Tail) -> Progress {
    let message = loop {
        match tail.next().await {
            // So the client says where the broker is but busy, and goes on by itself.
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) => {}
            read => break read.expect("the progress topic"),
        }
    };
    Progress::from_json(message.payload().expect("a value")).expect("progress")
}

/// A process that is held.
pub struct Held(u32);

impl Held {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.to_string()]).status().expect("kill");
        assert!(sent.success());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}
