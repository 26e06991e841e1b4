//! The command line.

mod placing;
mod repair;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lockstep_process::config::ConfigArgs;

use crate::bench::{
    AuditArgs as AuditBenchArgs, CountArgs, EngineArgs, ForecastArgs, IngestArgs, LatencyArgs, RecoveryArgs, WarmerArgs,
};
use crate::commands::{EvaluateArgs, SizeArgs};
use crate::demo::DemoArgs;

pub(crate) use placing::{ClusterTier, MoveArgs, PlacementArgs};
pub(crate) use repair::{
    BypassArgs, ParkedChoice, ParkedCommand, ParkedResolve, PauseArgs, PurgeArgs, RebuildArgs, ReplayArgs, ResumeArgs,
    SwitchArgs, Toggle, WarmArgs,
};

/// Keeps every cache tier of a shop in step with its database
#[derive(Parser)]
#[command(version, about, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run Lockstep: all roles in one process, or some of them
    Run(RunArgs),
    /// How far each tier has come
    Status(OutputArgs),
    /// Wait until a tier has applied everything before an LSN (exit code 75: not yet)
    Wait(WaitArgs),
    /// What a change would do: which keys and tags, in which tiers, and why. It is tried, and rolled back
    Explain(ExplainArgs),
    /// An entry beside the row that it is made of, in every tier, and what touched it last (exit code 1: it differs)
    Why(WhyArgs),
    /// Every copy in every tier beside its row (exit code 1: one is wrong)
    Audit(AuditArgs),
    /// What could not be done as it should: records too large or unreadable, scores of no use
    Parked {
        #[command(subcommand)]
        command: ParkedCommand,
    },
    /// Drop what was made of an entity from every tier, inside out, and prove it (exit code 75: not yet)
    Purge(PurgeArgs),
    /// Hold lanes: what comes waits in the log, and the tiers grow old. Ends by itself
    Pause(PauseArgs),
    /// Let paused lanes go on
    Resume(ResumeArgs),
    /// Have readers of a view go to the database. Ends by itself
    Bypass(BypassArgs),
    /// Drop, once more, what a range of the log has changed, so that readers fill it anew
    Replay(ReplayArgs),
    /// How large the caches should be: bytes a view, hit ratio against memory, nodes for so many requests
    Size(SizeArgs),
    /// Fill views from the database
    Warm(WarmArgs),
    /// Make a view anew beside its entries, compare, have readers switch to it, and back
    Rebuild(RebuildArgs),
    /// Which slots of a cluster hold data, how much, and which should go where
    Placement(PlacementArgs),
    /// Have another primary of a cluster hold a lane's slot, under load
    Move(MoveArgs),
    /// Publish every row of some tables, beside the changes, for consumers that begin with nothing
    Snapshot(SnapshotArgs),
    /// The demo: a private stack, a real shop's catalogue and sales, and a comparison of every entry at the end
    Demo(DemoArgs),
    /// A private stack of real servers on 127.0.0.1
    Stack {
        #[command(subcommand)]
        command: StackCommand,
    },
    /// Check database, topics and policy: a line a check, with its remedy (exit code 78 or 69)
    Check,
    /// What a DBA and a Kafka operator must set up, with least privilege
    Setup(SetupArgs),
    /// Create the demo shop's tables, and Lockstep's own
    Migrate,
    /// The policy
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// The versions of the function library on L2 and L1
    Functions {
        #[command(subcommand)]
        command: FunctionsCommand,
    },
    /// The forecast
    Forecast {
        #[command(subcommand)]
        command: ForecastCommand,
    },
    /// Measurements
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Which roles; all by default
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Role::ALL)]
    pub role: Vec<Role>,
}

#[derive(Args)]
pub(crate) struct SnapshotArgs {
    /// Tables of the policy, e.g. public.products
    #[arg(required_unless_present_any = ["all", "stop"])]
    pub tables: Vec<String>,
    /// Every table of the policy
    #[arg(long, conflicts_with = "tables")]
    pub all: bool,
    /// Ask, and do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
    /// Give up every snapshot that waits or is under way
    #[arg(long, conflicts_with_all = ["tables", "all"])]
    pub stop: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// PostgreSQL's log to Kafka
    Ingest,
    /// Kafka to every tier
    Engine,
    /// Reads over HTTP, and the CDN's origin
    Gateway,
    /// Order lines to scores
    Forecast,
    /// Scores to hot entries
    Warmer,
    /// Every copy beside its row, again and again
    Audit,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [Role::Ingest, Role::Engine, Role::Gateway, Role::Forecast, Role::Warmer, Role::Audit];
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Text,
    /// For scripts
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: OutputFormat,
}

#[derive(Args)]
pub(crate) struct WaitArgs {
    /// An LSN, e.g. of pg_current_wal_insert_lsn() after a commit
    #[arg(long = "for", value_name = "LSN")]
    pub lsn: String,
    /// Which tier
    #[arg(long, value_parser = ["l1", "l2", "l3"])]
    pub tier: String,
    /// How long
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub timeout: Duration,
}

#[derive(Args)]
pub(crate) struct WhyArgs {
    /// A key without what a cluster puts around it, e.g. product:all:85123A
    pub key: String,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct AuditArgs {
    /// Everything that is cached
    #[arg(long, required_unless_present_any = ["shadow", "noted"], requires = "once")]
    pub full: bool,
    /// A cache of your own that Lockstep has nothing to do with: which keys it has, and which field is which column
    #[arg(long, value_name = "FILE", conflicts_with_all = ["full", "once", "without_replicas", "repair"])]
    pub shadow: Option<PathBuf>,
    /// Once, and then end; `run --role audit` goes on for ever
    #[arg(long)]
    pub once: bool,
    /// Primaries only; readers may be sent to replicas, so these are looked at too by default
    #[arg(long)]
    pub without_replicas: bool,
    /// Have everything that was made of a wrong copy's entity dropped from every tier, as `purge` does, and wait for it
    #[arg(long, requires = "full")]
    pub repair: bool,
    /// How long to wait until repairs are proven
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME", requires = "repair")]
    pub timeout: Duration,
    /// What `run --role audit` has found to be wrong, the newest first
    #[arg(long, conflicts_with_all = ["full", "once", "without_replicas", "repair", "shadow"])]
    pub noted: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Statements that change rows, separated by semicolons
    #[arg(long, required_unless_present = "table")]
    pub sql: Option<String>,
    /// A table of the policy, e.g. public.prices
    #[arg(long, conflicts_with = "sql", requires = "key")]
    pub table: Option<String>,
    /// An entity of it: its rows are updated
    #[arg(long, requires = "table")]
    pub key: Option<String>,
    /// What a column becomes, e.g. price_pence=499; without it, the rows are written as they are
    #[arg(long, value_name = "COLUMN=VALUE", requires = "table")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct SetupArgs {
    /// Print the SQL: schema, publication, roles and grants
    #[arg(long)]
    pub print_sql: bool,
    /// Print the topics and ACLs
    #[arg(long)]
    pub print_kafka: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum FunctionsCommand {
    /// Which are there, on each primary
    List,
    /// Remove those older than this version's, once no process of an older version runs
    Prune,
}

#[derive(Subcommand)]
pub(crate) enum StackCommand {
    /// Start it, leave it running, and print how to reach it
    Up(StackArgs),
    /// End it
    Down(StackArgs),
    /// What `up` leaves running
    #[command(hide = true)]
    Hold(StackArgs),
}

#[derive(Args)]
pub(crate) struct StackArgs {
    /// Where the running stack is noted
    #[arg(long, env = "LOCKSTEP_STACK_STATE")]
    pub state: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check it
    Check,
    /// Print the JSON Schema of policy.toml, for editors
    Schema,
}

#[derive(Subcommand)]
pub(crate) enum ForecastCommand {
    /// Play a trace of sales strictly online: how much of each hour would have been warm, beside simpler models
    Evaluate(EvaluateArgs),
}

#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// From commit to Kafka, L2, L1 and the edge, beside produce-to-consume of the same bytes
    Latency(LatencyArgs),
    /// Draining the log: our reader, and ingest with Kafka acknowledged, beside pg_recvlogical
    Ingest(IngestArgs),
    /// The forecast in one thread: learning and selecting, beside a plain sort by counts
    Forecast(ForecastArgs),
    /// Rows into L2 beside plain HSET, a backlog into both tiers beside pg_recvlogical, and idle roles
    Engine(EngineArgs),
    /// A gap that L2 forgot beside a backlog, and a view rebuilt beside COPY to a pipelined HSET
    Recovery(RecoveryArgs),
    /// What the auditor costs: reads of L2 and of the database with it and without
    Audit(AuditBenchArgs),
    /// The hit ratio of an L1 that is warmed each hour, beside one of the same size left to its readers
    Warmer(WarmerArgs),
    /// Reads the configured slot to an LSN and counts the rows
    #[command(hide = true)]
    Count(CountArgs),
}

/// `500ms`, `5s`, `2m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is not a duration; write 500ms, 5s or 2m"))?;
    Duration::try_from(span).map_err(|_| format!("`{text}` is negative"))
}
