//! `lockstep bench latency`: how long a commit takes to reach Kafka, L2, L1 and the edge under the demo's traffic,
//! beside the time that the same bytes take through the same broker, from producing to consuming.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_stack::StackOptions;
use serde_json::json;
use tokio::time::Instant;

use super::broker::BrokerWatch;
use super::table;
use crate::demo::output::Output;
use crate::demo::prober::Latencies;
use crate::demo::roles::Roles;
use crate::demo::servers::Servers;
use crate::demo::traffic::{self, Load};
use crate::demo::{Format, on_stage, parse_time, set_up};

/// Fifty probes a second: three thousand in a minute, so that p99 rests on thirty of them.
const PROBE_PERIOD: Duration = Duration::from_millis(20);

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LatencyArgs {
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    lasts: Duration,
    /// How long the same traffic runs before: a broker that has just started is compiling itself
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    warm_up: Duration,
    /// Row changes per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Page reads per second beside it
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    reads: u32,
    /// Lines of a basket, at most: larger ones are bought in portions, for an even load; 0 leaves them as they are, bursts of
    /// up to 1,300 changes in one commit
    #[arg(long, default_value_t = 20)]
    basket_lines: usize,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs it on a private stack.
pub(crate) async fn latency(args: LatencyArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let options = StackOptions { kafka_throughput: true, ..StackOptions::default() };
    let measured = on_stage(options, &output, async |servers: &Servers, roles: &mut Roles| {
        let mut shop = set_up::open(servers, roles, &output).await?;
        if args.basket_lines > 0 {
            shop.trace = Arc::new(shop.trace.in_portions(args.basket_lines));
        }
        let latencies = Arc::new(Latencies::counting_from(Instant::now() + args.warm_up)?);
        let watch = BrokerWatch::start(&servers.kafka, Arc::clone(&latencies)).await.context("watch the broker")?;
        let load =
            Load { lasts: args.warm_up + args.lasts, rate: args.rate, reads: args.reads, probe_period: PROBE_PERIOD };
        let traffic = traffic::run(load, servers, &shop, roles, &output, Arc::clone(&latencies)).await?;
        let broker = watch.stop().await?;
        Ok((traffic, latencies, broker))
    });
    let (traffic, latencies, broker) = measured.await?;
    let rows = [
        ("reference", &broker.reference),
        ("ingest", &broker.commit_to_ingest),
        ("Kafka", &broker.commit_to_kafka),
        ("L2", &latencies.l2),
        ("L1", &latencies.l1),
        ("edge", &latencies.edge),
    ];
    let rate = traffic.changes as f64 / traffic.wrote_for.as_secs_f64();
    let title = format!("commit to seen, ms, at {rate:.0} changes/s, synchronous_commit = on");
    output.result(&json!({"changes_per_s": rate, "commit_to_ms": table::print(&output, &title, &rows)}));
    Ok(ExitCode::SUCCESS)
}
