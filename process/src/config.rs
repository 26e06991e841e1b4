//! Configuration: file < environment < flag. Checked once, here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::{Failure, suggest};

mod audit;
mod database;
mod kafka;
mod secret;
mod tiers;
mod url;

pub use audit::AuditConfig;
use audit::AuditSection;
pub use database::DatabaseConfig;
use database::DatabaseSection;
use kafka::KafkaSection;
pub use kafka::{KafkaConfig, SaslConfig, SaslMechanism};
pub use tiers::RedisServers;
use tiers::TiersSection;
pub use url::Url;

/// Partitions of a group's topic, unless configured.
const PARTITIONS_DEFAULT: u32 = 128;
const PARTITIONS_MAX: u32 = 1_024;
const SNAPSHOT_ROWS_DEFAULT: u32 = 20_000;
/// One in a thousand reads of a small shop says nothing, of a large one enough.
const VIEWS_SHARE_MIN: f64 = 0.001;
const RESPONSE_DEFAULT: u64 = 2_000;
const PURGES_PER_SECOND_DEFAULT: u32 = 10_000;
const RESPONSE_MIN: u64 = 1_000;
const RESPONSE_MAX: u64 = 60_000;

/// Flags, each with its variable of the environment. They win over the file.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Configuration file (TOML); without it, `lockstep.toml` in the current folder, where there is one
    #[arg(long, env = "LOCKSTEP_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Policy file; without it, `policy.toml` in the current folder, or the built-in policy of the demo shop
    #[arg(long, env = "LOCKSTEP_POLICY", global = true)]
    pub policy: Option<PathBuf>,
    /// The catalogue database, e.g. postgres://lockstep@db:5432/shop
    #[arg(long, env = "LOCKSTEP_DATABASE_URL", global = true, hide_env_values = true)]
    pub database_url: Option<String>,
    /// Kafka's bootstrap servers
    #[arg(long, env = "LOCKSTEP_KAFKA_BROKERS", global = true)]
    pub kafka_brokers: Option<String>,
    /// L2: one Redis
    #[arg(long, env = "LOCKSTEP_L2_URL", global = true, hide_env_values = true)]
    pub l2_url: Option<String>,
    /// L2 as a Redis Cluster, instead of one Redis: its nodes
    #[arg(long, env = "LOCKSTEP_L2_URLS", global = true, value_delimiter = ',', hide_env_values = true)]
    pub l2_urls: Option<Vec<String>>,
    /// L1: nodes of a Redis Cluster
    #[arg(long, env = "LOCKSTEP_L1_URLS", global = true, value_delimiter = ',', hide_env_values = true)]
    pub l1_urls: Option<Vec<String>>,
    /// L3: where to send purges
    #[arg(long, env = "LOCKSTEP_EDGE_URL", global = true, hide_env_values = true)]
    pub edge_url: Option<String>,
    /// Where the gateway listens
    #[arg(long, env = "LOCKSTEP_GATEWAY_LISTEN", global = true)]
    pub gateway_listen: Option<String>,
    /// The share of product reads that are published as view events, from 0.001 to 1; none by default
    #[arg(long, env = "LOCKSTEP_GATEWAY_VIEWS", global = true, value_name = "SHARE")]
    pub gateway_views: Option<f64>,
    /// Where metrics are served, e.g. 127.0.0.1:9464; nowhere by default
    #[arg(long, env = "LOCKSTEP_METRICS_LISTEN", global = true)]
    pub metrics_listen: Option<String>,
    /// Partitions of a group's topic; another count is another installation
    #[arg(long, env = "LOCKSTEP_PARTITIONS", global = true)]
    pub partitions: Option<u32>,
    /// A prefix for keys, so that several installations can share a Redis
    #[arg(long, env = "LOCKSTEP_NAMESPACE", global = true)]
    pub namespace: Option<String>,
}

/// The file's form.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    policy: Option<PathBuf>,
    partitions: Option<u32>,
    namespace: Option<String>,
    database: DatabaseSection,
    kafka: KafkaSection,
    tiers: TiersSection,
    edge: EdgeSection,
    gateway: GatewaySection,
    ingest: IngestSection,
    metrics: MetricsSection,
    audit: AuditSection,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IngestSection {
    snapshot: Option<SnapshotWhen>,
    snapshot_rows_per_second: Option<u32>,
}

/// When every table is published row by row without being asked for.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SnapshotWhen {
    Never,
    Initial,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EdgeSection {
    url: Option<String>,
    response_ms_max: Option<u64>,
    purges_per_second: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetricsSection {
    listen: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GatewaySection {
    listen: Option<String>,
    views: Option<f64>,
}

/// What ingest does beside following the log.
#[derive(Clone, Copy, Debug)]
pub struct IngestConfig {
    /// Whether each epoch begins with a snapshot of every table.
    pub snapshot_initial: bool,
    /// How fast snapshots read.
    pub snapshot_rows_per_second: u32,
}

/// The edge.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Where purges go.
    pub url: Url,
    /// The origin's deadline for a response, and so the distance between two rounds of purges.
    pub response_max: Duration,
    /// Requests that purge, a second.
    pub purges_per_second_max: u32,
}

/// All that a process needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The policy's file; `None`: the built-in one.
    pub policy: Option<PathBuf>,
    /// Partitions of a group's topic.
    pub partitions: u32,
    /// Prefix of keys.
    pub namespace: String,
    /// Of the role ingest.
    pub ingest: IngestConfig,
    /// Of the role audit.
    pub audit: AuditConfig,
    /// Where metrics are served; `None`: nowhere.
    pub metrics_listen: Option<String>,
    /// One in so many reads of products is published as a view event; `None`: none is.
    pub gateway_view_weight: Option<u32>,
    database: Option<DatabaseConfig>,
    kafka: KafkaConfig,
    l2: Option<RedisServers>,
    l1: Option<Vec<Url>>,
    edge: Option<EdgeConfig>,
    gateway_listen: Option<String>,
}

impl Config {
    /// Reads the file, lays the arguments over it, checks all.
    pub fn load(args: &ConfigArgs) -> Result<Config, Failure> {
        let file = read_file(args.config.as_deref())?;
        let partitions = args.partitions.or(file.partitions).unwrap_or(PARTITIONS_DEFAULT);
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            return Err(Failure::configuration(format!("partitions = {partitions}"))
                .remedy(format!("choose a number from 1 to {PARTITIONS_MAX}")));
        }
        let namespace = args.namespace.clone().or(file.namespace).unwrap_or_default();
        if namespace.contains(['{', '}']) || namespace.chars().any(char::is_whitespace) {
            return Err(Failure::configuration(format!(
                "namespace `{namespace}` must not contain braces or white space"
            )));
        }
        let edge = args.edge_url.clone().or(file.edge.url);
        let edge = edge.map(|text| Url::parse("the edge URL", &text, &["http", "https"])).transpose()?;
        let response_ms = file.edge.response_ms_max.unwrap_or(RESPONSE_DEFAULT);
        if !(RESPONSE_MIN..=RESPONSE_MAX).contains(&response_ms) {
            return Err(Failure::configuration(format!("[edge] response_ms_max = {response_ms}")).remedy(format!(
                "choose from {RESPONSE_MIN} to {RESPONSE_MAX}: so long an answer may take, and so far apart are purges"
            )));
        }
        let purges_per_second_max = file.edge.purges_per_second.unwrap_or(PURGES_PER_SECOND_DEFAULT);
        if purges_per_second_max == 0 {
            return Err(Failure::configuration("[edge] purges_per_second = 0")
                .remedy("choose at least 1: as many requests as the CDN takes"));
        }
        let snapshot_rows_per_second = file.ingest.snapshot_rows_per_second.unwrap_or(SNAPSHOT_ROWS_DEFAULT);
        if snapshot_rows_per_second == 0 {
            return Err(Failure::configuration("[ingest] snapshot_rows_per_second = 0")
                .remedy("choose at least 1; a snapshot is given up by `lockstep snapshot --stop`"));
        }
        let response_max = Duration::from_millis(response_ms);
        let (l2, l1) = file.tiers.servers(args)?;
        Ok(Config {
            policy: args.policy.clone().or(file.policy).or_else(|| exists("policy.toml")),
            partitions,
            namespace,
            ingest: IngestConfig {
                snapshot_initial: file.ingest.snapshot == Some(SnapshotWhen::Initial),
                snapshot_rows_per_second,
            },
            audit: file.audit.build()?,
            gateway_view_weight: view_weight(args.gateway_views.or(file.gateway.views))?,
            metrics_listen: args.metrics_listen.clone().or(file.metrics.listen),
            database: file.database.build(args.database_url.clone())?,
            kafka: file.kafka.build(args.kafka_brokers.clone())?,
            l2,
            l1,
            edge: edge.map(|url| EdgeConfig { url, response_max, purges_per_second_max }),
            gateway_listen: args.gateway_listen.clone().or(file.gateway.listen),
        })
    }

    /// The database.
    pub fn database(&self) -> Result<&DatabaseConfig, Failure> {
        self.database.as_ref().ok_or_else(|| missing("the database", "LOCKSTEP_DATABASE_URL", "[database] url"))
    }

    /// Kafka.
    pub fn kafka(&self) -> Result<&KafkaConfig, Failure> {
        let is_named = !self.kafka.brokers.is_empty();
        is_named.then_some(&self.kafka).ok_or_else(|| missing("Kafka", "LOCKSTEP_KAFKA_BROKERS", "[kafka] brokers"))
    }

    /// Kafka, for what its topics are called: perhaps no broker is named.
    pub fn kafka_names(&self) -> &KafkaConfig {
        &self.kafka
    }

    /// L2.
    pub fn l2(&self) -> Result<&RedisServers, Failure> {
        self.l2.as_ref().ok_or_else(|| missing("L2", "LOCKSTEP_L2_URL", "[tiers] l2"))
    }

    /// L1.
    pub fn l1(&self) -> Result<&[Url], Failure> {
        self.l1.as_deref().ok_or_else(|| missing("L1", "LOCKSTEP_L1_URLS", "[tiers] l1"))
    }

    /// L3.
    pub fn edge(&self) -> Result<&EdgeConfig, Failure> {
        self.edge.as_ref().ok_or_else(|| missing("the edge", "LOCKSTEP_EDGE_URL", "[edge] url"))
    }

    /// Where the gateway listens.
    pub fn gateway_listen(&self) -> &str {
        self.gateway_listen.as_deref().unwrap_or("127.0.0.1:8080")
    }
}

/// How many reads one published event stands for.
fn view_weight(share: Option<f64>) -> Result<Option<u32>, Failure> {
    match share {
        None => Ok(None),
        Some(0.0) => Ok(None),
        Some(share) if (VIEWS_SHARE_MIN..=1.0).contains(&share) => Ok(Some((1.0 / share).round() as u32)),
        Some(share) => Err(Failure::configuration(format!("[gateway] views = {share}"))
            .remedy(format!("choose a share from {VIEWS_SHARE_MIN} to 1, or 0 for none"))),
    }
}

fn missing(what: &str, variable: &str, key: &str) -> Failure {
    Failure::configuration(format!("where {what} is has not been configured"))
        .remedy(format!("set {variable}, or {key} in lockstep.toml (`lockstep stack up` prints a set)"))
}

fn exists(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

fn read_file(path: Option<&Path>) -> Result<File, Failure> {
    let Some(path) = path.map(Path::to_owned).or_else(|| exists("lockstep.toml")) else {
        return Ok(File::default());
    };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        Failure::configuration(format!("can't read {}", path.display()))
            .because(error)
            .remedy("give a readable file with --config")
    })?;
    parse_file(&text).map_err(|why| Failure::configuration(format!("{}: {why}", path.display())))
}

fn parse_file(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
        let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{at}{}", suggest::explain(error.message()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lockstep.toml");
        std::fs::write(&path, "partitions = 32\n[database]\nurl = \"postgres://u:secret@h/db\"\n").expect("written");
        let args = ConfigArgs { config: Some(path), partitions: Some(16), ..ConfigArgs::default() };
        let config = Config::load(&args).expect("a configuration");
        assert_eq!(config.partitions, 16);
        let shown = format!("{config:?} {}", config.database().expect("a database").url);
        assert!(!shown.contains("secret") && shown.contains("postgres://h/db"), "{shown}");
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let why = parse_file("[kafka]\nbrokres = 'x'\n").err().expect("refused");
        assert!(
            why.starts_with("line 2: unknown field `brokres`") && why.ends_with("did you mean `brokers`?"),
            "{why}"
        );
    }

    #[test]
    fn one_in_so_many_reads() {
        for (share, weight) in [(None, None), (Some(0.0), None), (Some(1.0), Some(1)), (Some(0.1), Some(10))] {
            assert_eq!(view_weight(share).expect("a share"), weight);
        }
        for share in [-1.0, 1.5, 0.0001, f64::NAN] {
            assert!(view_weight(Some(share)).is_err(), "{share}");
        }
    }

    #[test]
    fn what_is_missing_names_its_remedy() {
        let config = Config::load(&ConfigArgs::default()).expect("a configuration");
        let failure = config.kafka().expect_err("missing").to_string();
        assert!(failure.contains("LOCKSTEP_KAFKA_BROKERS"), "{failure}");
    }
}
