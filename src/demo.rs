//! `lockstep demo`: a real shop's sales against real servers, every cached copy compared with the database at the end.

/// Redis, read plainly.
pub mod caches;
/// Every copy against its row.
pub mod comparison;
/// This program's other commands.
pub mod lockstep;
/// Where lines go.
pub mod output;
/// Stale values on purpose.
pub mod plant;
/// Commit to seen, from outside.
pub mod prober;
/// Waiting for parts.
pub mod ready;
/// The end.
pub mod report;
/// The pipeline's processes.
pub mod roles;
/// Addresses.
pub mod servers;
/// From nothing to an open shop.
pub mod set_up;
/// The shop.
pub mod shop;
/// Its readers.
pub mod shoppers;
/// Whose copy a key is.
pub mod subject;
/// What is sold.
pub mod trace;
/// From open to quiet.
pub mod traffic;
/// Watermarks.
pub mod watch;

use crate::demo::output::Output;
use crate::demo::plant::Planter;
use crate::demo::prober::{Latencies, PROBE_PERIOD};
use crate::demo::report::Report;
use crate::demo::roles::Roles;
use crate::demo::servers::Servers;
use crate::demo::traffic::Load;
use anyhow::{Context, Result};
use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use lockstep_stack::{Stack, StackOptions};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Partitions of a group's topic: several times more than nodes of L1.
pub const PARTITIONS: usize = 16;

/// What the demo is asked to do.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// How long the shop is open, e.g. 60s or 5m
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub lasts: Duration,
    /// Plants this many stale values in each tier before the comparison, which must find them
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub plant: u32,
    /// Row changes per second
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub rate: u32,
    /// Page reads per second
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub reads: u32,
    /// Has L2 as a cluster of three nodes, rather than one node
    #[arg(long)]
    pub l2_cluster: bool,
    /// `json`: one object on stdout at the end, all other lines on stderr
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// How the result is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lines for people.
    Text,
    /// And one JSON object for programs.
    Json,
}

/// Runs the demo. The exit code is 1 where a cached copy says something else than the database.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let began = Instant::now();
    let played = async |servers: &Servers, roles: &mut Roles| story(&args, servers, roles, &output, began).await;
    let options = StackOptions { redis_l2_cluster: args.l2_cluster, ..StackOptions::default() };
    let report = on_stage(options, &output, played).await?;
    report.print(&output);
    output.result(&report.to_json());
    Ok(if report.findings.wrong() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the servers, plays something on them, and ends everything: after the play, on a signal, or when a role can't
/// be kept alive.
pub async fn on_stage<T>(
    options: StackOptions,
    output: &Arc<Output>,
    play: impl AsyncFnOnce(&Servers, &mut Roles) -> Result<T>,
) -> Result<T> {
    // Listened for from here on: one that comes while the servers start ends the play once they have.
    let mut stop = StopSignals::listen()?;
    let stack = start_stack(options, output).await?;
    let servers = Servers::of(stack.endpoints());
    let (mut roles, mut given_up) = Roles::new(servers.lockstep()?, &servers.folder.join("logs"), Arc::clone(output))?;
    let ended = tokio::select! {
        ended = play(&servers, &mut roles) => ended,
        error = given_up.wait() => Err(error),
        name = stop.wait() => Err(Failure::new(FailureKind::NotYet, format!("stopped by {name}")).into()),
    };
    // Roles first: a role without its servers would only complain.
    roles.stop().await;
    tokio::task::spawn_blocking(move || drop(stack)).await.context("stop the stack")?;
    ended
}

/// From empty servers to a comparison of everything that is cached.
async fn story(
    args: &DemoArgs,
    servers: &Servers,
    roles: &mut Roles,
    output: &Arc<Output>,
    began: Instant,
) -> Result<Report> {
    let shop = set_up::open(servers, roles, output).await?;
    let set_up = began.elapsed();
    output.line(format!("the shop opens, {:.1} s after the start", set_up.as_secs_f64()));

    let load = Load { lasts: args.lasts, rate: args.rate, reads: args.reads, probe_period: PROBE_PERIOD };
    let latencies = Arc::new(Latencies::counting_from(tokio::time::Instant::now())?);
    let measured = traffic::run(load, servers, &shop, roles, output, latencies).await?;
    output
        .line(format!("every tier has caught up, {:.1} s after the last commit", measured.caught_up_in.as_secs_f64()));

    let planter = Planter { caches: &shop.caches, edge: &servers.edge_url, http: &shop.http };
    let planted = planter.plant(args.plant as usize).await.context("plant stale values")?;
    let findings = comparison::compare(servers, output).await.context("compare")?;
    Ok(Report { measured, findings, planted, set_up })
}

async fn start_stack(options: StackOptions, output: &Arc<Output>) -> Result<Stack> {
    let output = Arc::clone(output);
    let start = move || Stack::start(options, &mut |line| output.line(line));
    let started = tokio::task::spawn_blocking(start).await.context("starting the stack panicked")?;
    started.map_err(|error| Failure::unavailable(error).into())
}

/// The signals that end the demo in order.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Returns when one comes: which.
    async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// `60s`, `5m`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let time: jiff::SignedDuration = text.parse().map_err(|_| format!("not a time: `{text}`; try 60s or 5m"))?;
    Duration::try_from(time).map_err(|_| "time does not run backwards".to_owned())
}
