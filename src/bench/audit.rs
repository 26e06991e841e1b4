//! `lockstep bench audit`: what the auditor costs. The demo's shop, whose L2 and database answer as many reads as they can;
//! with the auditor beside them and without, in turn. Then nobody reads: what the auditor takes of an idle shop.

use std::collections::BTreeMap;
use std::process::{ExitCode, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lockstep_stack::StackOptions;
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::table::spread;
use super::usage::{Account, cpu_seconds};
use crate::demo::output::{Output, thousands};
use crate::demo::roles::Roles;
use crate::demo::servers::Servers;
use crate::demo::{Format, on_stage, parse_time, set_up};

/// Readers of L2, each with a connection of its own, and of the database.
const L2_READERS: usize = 4;
const DATABASE_READERS: u32 = 4;
/// What a start does once is over by then.
const SETTLE: Duration = Duration::from_secs(5);

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AuditArgs {
    /// Rounds; in each, both are measured once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// How long each is measured
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    lasts: Duration,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Reads a second, the commands a second that L2 was sent by others than the readers, and the auditor's part of the CPU time
/// that the database's connections took, in percent.
#[derive(Clone, Copy)]
struct Measured {
    l2: f64,
    database: f64,
    others: f64,
    of_database_cpu: f64,
}

/// Runs it on a private stack.
pub(crate) async fn audit(args: AuditArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let played = async |servers: &Servers, roles: &mut Roles| story(&args, servers, roles, &output).await;
    let measured = on_stage(StackOptions::default(), &output, played).await?;
    output.result(&measured);
    Ok(ExitCode::SUCCESS)
}

async fn story(args: &AuditArgs, servers: &Servers, roles: &mut Roles, output: &Arc<Output>) -> Result<Value> {
    let _shop = set_up::open(servers, roles, output).await?;
    let readers = Readers::open(servers).await?;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let without = readers.read_for(args.lasts).await?;
        let mut auditor = start(servers)?;
        // Under load, as the auditor measures it.
        readers.read_for(SETTLE).await?;
        let with = readers.read_for(args.lasts).await?;
        anyhow::ensure!(auditor.try_wait()?.is_none(), "the auditor has ended by itself");
        auditor.kill().await.context("end the auditor")?;
        output.line(format!(
            "round {round}: L2 {}/s without, {}/s with; database {}/s, {}/s; the auditor's {:.0} commands/s are {:.2} % of L2's",
            thousands(without.l2 as u64),
            thousands(with.l2 as u64),
            thousands(without.database as u64),
            thousands(with.database as u64),
            with.others - without.others,
            share(&without, &with)
        ));
        rounds.push((without, with));
    }
    let cost = |of: fn(&Measured) -> f64| spread(rounds.iter().map(|(a, b)| 100.0 - of(b) * 100.0 / of(a).max(1.0)));
    let (l2, database) = (cost(|one| one.l2), cost(|one| one.database));
    let shares = spread(rounds.iter().map(|(without, with)| share(without, with)));
    let cpu = spread(rounds.iter().map(|(_, with)| with.of_database_cpu));
    let idle = idle(args, servers, &readers, output).await.context("an idle shop")?;
    output.line("");
    output.line("what the auditor costs     median     least  greatest");
    for (name, [median, least, greatest]) in [
        ("reads of L2", l2),
        ("reads of the database", database),
        ("share of L2's commands", shares),
        ("share of database's CPU", cpu),
    ] {
        output.line(format!("{name:<24}{median:>7.2} %  {least:>6.2} %  {greatest:>6.2} %"));
    }
    let figures = |[median, least, greatest]: [f64; 3]| json!({"median": median, "least": least, "greatest": greatest});
    Ok(json!({
        "l2_cost_percent": figures(l2),
        "database_cost_percent": figures(database),
        "l2_commands_percent": figures(shares),
        "database_cpu_percent": figures(cpu),
        "idle": idle,
    }))
}

fn start(servers: &Servers) -> Result<Child> {
    let mut auditor = servers.lockstep()?.command(&["run", "--role", "audit"]);
    auditor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    auditor.spawn().context("start the auditor")
}

/// Nobody reads or writes: commands of L2 and its CPU with the auditor and without, and the auditor's own.
async fn idle(args: &AuditArgs, servers: &Servers, readers: &Readers, output: &Output) -> Result<Value> {
    let without = readers.wait_for(args.lasts).await?;
    let mut auditor = start(servers)?;
    tokio::time::sleep(SETTLE).await;
    let pid = auditor.id().context("the auditor has ended by itself")?.to_string();
    let (account, began) = (Account::of(&pid)?, Instant::now());
    let with = readers.wait_for(args.lasts).await?;
    let own = account.seconds_since()? * 100.0 / began.elapsed().as_secs_f64();
    auditor.kill().await.context("end the auditor")?;
    let (commands, percent) = (with.commands - without.commands, with.cpu_percent - without.cpu_percent);
    output.line(format!(
        "idle: the auditor's {commands:.0} commands/s (others: {:.0}/s) cost L2 {percent:.2} % of a core, itself {own:.2} %",
        without.commands
    ));
    Ok(json!({
        "commands_per_second": commands, "others_commands_per_second": without.commands, "l2_core_percent": percent,
        "own_core_percent": own,
    }))
}

fn share(without: &Measured, with: &Measured) -> f64 {
    (with.others - without.others).max(0.0) * 100.0 / (with.l2 + with.others).max(1.0)
}

/// In percent of what all took between two looks.
fn part_of_auditor(before: &BTreeMap<i32, (bool, f64)>, after: &BTreeMap<i32, (bool, f64)>) -> f64 {
    let spent = |only_auditor: bool| -> f64 {
        let of = after.iter().filter(|(_, (is_auditor, _))| *is_auditor || !only_auditor);
        of.map(|(pid, (_, seconds))| seconds - before.get(pid).map_or(0.0, |(_, seconds)| *seconds)).sum()
    };
    spent(true) * 100.0 / spent(false).max(f64::EPSILON)
}

/// Of L2, a second.
struct Idle {
    commands: f64,
    cpu_percent: f64,
}

struct Readers {
    l2: redis::Client,
    keys: Arc<Vec<String>>,
    pool: PgPool,
}

impl Readers {
    async fn open(servers: &Servers) -> Result<Self> {
        let l2 = redis::Client::open(&*servers.l2_url)?;
        let pool = PgPoolOptions::new().max_connections(DATABASE_READERS).connect(&servers.database_url).await?;
        let keys: Vec<String> = sqlx::query_scalar("SELECT product_id FROM products").fetch_all(&pool).await?;
        anyhow::ensure!(!keys.is_empty(), "the shop has no products");
        Ok(Readers { l2, keys: Arc::new(keys), pool })
    }

    /// As many reads as there can be.
    async fn read_for(&self, lasts: Duration) -> Result<Measured> {
        let (of_l2, of_database) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (before, backends) = (self.commands().await?, self.backends().await?);
        let (began, mut readers) = (Instant::now(), JoinSet::new());
        for _ in 0..L2_READERS {
            let node = self.l2.get_multiplexed_async_connection().await?;
            readers.spawn(read_l2(node, self.keys.clone(), of_l2.clone(), began + lasts));
        }
        for _ in 0..DATABASE_READERS {
            readers.spawn(read_database(self.pool.clone(), self.keys.clone(), of_database.clone(), began + lasts));
        }
        while let Some(ended) = readers.join_next().await {
            ended.context("a reader panicked")??;
        }
        let seconds = began.elapsed().as_secs_f64();
        let l2 = of_l2.load(Ordering::Relaxed) as f64;
        let all = (self.commands().await? - before) as f64;
        Ok(Measured {
            l2: l2 / seconds,
            database: of_database.load(Ordering::Relaxed) as f64 / seconds,
            others: (all - l2).max(0.0) / seconds,
            of_database_cpu: part_of_auditor(&backends, &self.backends().await?),
        })
    }

    /// The CPU seconds of each of the database's connections so far, and whether it is the auditor's.
    async fn backends(&self) -> Result<BTreeMap<i32, (bool, f64)>> {
        let all = "SELECT pid, application_name = 'lockstep-audit' FROM pg_stat_activity WHERE backend_type = 'client backend'";
        let all: Vec<(i32, bool)> = sqlx::query_as(all).fetch_all(&self.pool).await?;
        // One that has ended meanwhile has no account any more.
        let cost = |(pid, is_auditor): (i32, bool)| Some((pid, (is_auditor, cpu_seconds(&pid.to_string()).ok()?)));
        Ok(all.into_iter().filter_map(cost).collect())
    }

    /// No reads.
    async fn wait_for(&self, lasts: Duration) -> Result<Idle> {
        let (commands, cpu, began) = (self.commands().await?, self.cpu_seconds().await?, Instant::now());
        tokio::time::sleep(lasts).await;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Idle {
            commands: (self.commands().await? - commands) as f64 / seconds,
            cpu_percent: (self.cpu_seconds().await? - cpu) * 100.0 / seconds,
        })
    }

    /// Commands that L2 has carried out.
    async fn commands(&self) -> Result<u64> {
        self.told("stats", "total_commands_processed:").await
    }

    /// CPU seconds that L2 has used.
    async fn cpu_seconds(&self) -> Result<f64> {
        let (user, system) = (self.told::<f64>("cpu", "used_cpu_user:"), self.told::<f64>("cpu", "used_cpu_sys:"));
        Ok(user.await? + system.await?)
    }

    async fn told<T: FromStr>(&self, section: &str, name: &str) -> Result<T> {
        let mut node = self.l2.get_multiplexed_async_connection().await?;
        let info: String = redis::cmd("INFO").arg(section).query_async(&mut node).await?;
        let told = info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        told.with_context(|| format!("L2 does not tell {name}"))
    }
}

async fn read_l2(
    mut node: MultiplexedConnection,
    keys: Arc<Vec<String>>,
    count: Arc<AtomicU64>,
    until: Instant,
) -> Result<()> {
    while Instant::now() < until {
        let key = format!("product:all:{}", keys[fastrand::usize(..keys.len())]);
        redis::cmd("HGETALL").arg(key).exec_async(&mut node).await?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn read_database(pool: PgPool, keys: Arc<Vec<String>>, count: Arc<AtomicU64>, until: Instant) -> Result<()> {
    while Instant::now() < until {
        let key = &keys[fastrand::usize(..keys.len())];
        sqlx::query("SELECT price_pence FROM prices WHERE product_id = $1").bind(key).fetch_optional(&pool).await?;
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
