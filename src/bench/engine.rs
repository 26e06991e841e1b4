//! `lockstep bench engine`: rows into L2 by the function library beside plain `HSET`; what a record costs before that; a
//! backlog drained into both tiers beside `pg_recvlogical`; and what idle roles cost. Every rate stands beside its
//! reference of the same round.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockstep_stack::StackOptions;
use serde_json::json;

use super::products;
use crate::demo::output::{Output, thousands};
use crate::demo::servers::Servers;
use crate::demo::{Format, on_stage, parse_time};

mod backlog;
mod catalogue;
mod chain;
mod idle;
mod node;
mod planning;
mod recovery;
mod rounds;

use chain::Chain;
pub(crate) use recovery::{RecoveryArgs, recovery};

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineArgs {
    /// Rounds of each part; in each, everything is measured once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Products, each an entry on both tiers
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    products: u32,
    /// Changes of a backlog, each a transaction
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    changes: u32,
    /// How long the roles are idle
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    idle: Duration,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs it on a private stack.
pub(crate) async fn engine(args: EngineArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let options =
        StackOptions { kafka_throughput: true, postgres_settings: products::settings(), ..StackOptions::default() };
    let measured = on_stage(options, &output, async |servers: &Servers, _roles| {
        let applied =
            rounds::run(&servers.l2_url, args.products, args.rounds, &output).await.context("rows into L2")?;
        let chain = Chain::open(servers, args.products, &output).await.context("open the chain")?;
        let mut drained = Vec::new();
        for round in 1..=args.rounds {
            output.line(format!("round {round}: {} changes", thousands(args.changes.into())));
            drained.push(backlog::round(&chain, args.changes).await.context("a backlog")?);
        }
        let backlog = backlog::print(args.changes, &drained, &output);
        let planned = planning::run(&chain, args.rounds, &output).await.context("decode and plan")?;
        let idle = idle::run(&chain, servers, args.idle, &output).await.context("idle roles")?;
        Ok(json!({"l2": applied, "record": planned, "backlog": backlog, "idle": idle}))
    });
    output.result(&measured.await?);
    Ok(ExitCode::SUCCESS)
}
