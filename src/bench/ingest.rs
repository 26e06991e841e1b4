//! `lockstep bench ingest`: the same log, drained by `pg_recvlogical`, by our reader alone, and by ingest with Kafka
//! acknowledged, in turn. Every figure is a ratio against `pg_recvlogical` of the same round.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockstep_stack::{Services, StackOptions};
use serde_json::json;

use super::products;
use super::table::spread;
use crate::demo::output::{Output, thousands};
use crate::demo::{Format, on_stage, parse_time};

mod drain;
mod live;
mod workload;

use drain::{Drained, Drains, Reader};
use workload::{Database, Workload};

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct IngestArgs {
    /// Rounds; in each, every reader drains the same log once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Transactions of one row each
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    transactions: u32,
    /// Rows of the one large transaction
    #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    rows: u32,
    /// Transactions a second of the live part
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// How long the live part lasts
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    lasts: Duration,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What the reader without Kafka is told; a process of its own, so that its cost can be told from ours.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CountArgs {
    /// Where to stop
    pub until: String,
}

/// Runs it on a private stack.
pub(crate) async fn ingest(args: IngestArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let services = Services { postgres: true, kafka: true, ..Services::NONE };
    let options = StackOptions {
        services,
        kafka_throughput: true,
        postgres_settings: products::settings(),
        ..StackOptions::default()
    };
    let workloads = [
        Workload { name: "single", transactions: args.transactions, rows: 1 },
        Workload { name: "large", transactions: 1, rows: args.rows },
    ];
    let results = on_stage(options, &output, async |servers, _roles| {
        let database = Database::prepare(&servers.database_url, &workloads).await.context("prepare the table")?;
        let drains = Drains::new(servers)?;
        let mut results = Vec::new();
        for workload in &workloads {
            output.line(format!("{workload}: writing it"));
            let end = database.write(workload).await.context("write the log")?;
            results.push((workload, rounds(&args, &drains, &database, workload, end, &output).await?));
        }
        let live = live::live(servers, &drains, (args.rate, args.lasts), &output).await.context("the live part")?;
        Ok((results, live))
    });
    let (results, live) = results.await?;
    let mut object = serde_json::Map::new();
    for (workload, rounds) in &results {
        object.insert(workload.name.to_owned(), print(&output, workload, rounds));
    }
    object.insert("live".to_owned(), live);
    output.result(&object.into());
    Ok(ExitCode::SUCCESS)
}

type Round = [Drained; Reader::ALL.len()];

async fn rounds(
    args: &IngestArgs,
    drains: &Drains,
    database: &Database,
    workload: &Workload,
    end: String,
    output: &Output,
) -> Result<Vec<Round>> {
    let bar = output.bar(workload.name, args.rounds as usize * Reader::ALL.len());
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut drained = [Drained::default(); Reader::ALL.len()];
        for (at, reader) in Reader::ALL.into_iter().enumerate() {
            let slot = database.copy_slot(workload, &format!("{round}_{at}")).await?;
            drained[at] = drains.run(reader, &slot, &end).await.with_context(|| format!("{reader:?}"))?;
            database.drop_slot(&slot).await?;
            if let Some(rows) = drained[at].rows {
                ensure!(rows == workload.changes(), "{reader:?} saw {rows} rows of {}", workload.changes());
            }
            bar.inc(1);
        }
        rounds.push(drained);
    }
    bar.finish_and_clear();
    Ok(rounds)
}

fn print(output: &Output, workload: &Workload, rounds: &[Round]) -> serde_json::Value {
    let rows = workload.changes() as f64;
    output.line("");
    output.line(format!("{workload}, {} rounds; median (least to greatest)", rounds.len()));
    output.line("                   rows/s                       of reference         CPU us/row          of reference         RSS MB");
    let mut object = serde_json::Map::new();
    for (at, reader) in Reader::ALL.into_iter().enumerate() {
        let of = |figure: &dyn Fn(&Drained) -> f64| spread(rounds.iter().map(|round| figure(&round[at])));
        let against = |figure: &dyn Fn(&Drained) -> f64| spread(rounds.iter().map(|r| figure(&r[at]) / figure(&r[0])));
        let rate = |drained: &Drained| rows / drained.seconds;
        let cpu = |drained: &Drained| drained.cpu_seconds * 1e6 / rows;
        let (rates, rate_ratios, costs, cost_ratios) = (of(&rate), against(&rate), of(&cpu), against(&cpu));
        let memory = of(&|drained| drained.rss_mb_max);
        output.line(format!(
            "{:<16} {:>9} ({:>8}-{:>8})  {:>5.2} ({:.2}-{:.2})  {:>6.2} ({:.2}-{:.2})  {:>5.2} ({:.2}-{:.2})  {:>6.0}",
            reader.name(),
            thousands(rates[0] as u64),
            thousands(rates[1] as u64),
            thousands(rates[2] as u64),
            rate_ratios[0],
            rate_ratios[1],
            rate_ratios[2],
            costs[0],
            costs[1],
            costs[2],
            cost_ratios[0],
            cost_ratios[1],
            cost_ratios[2],
            memory[2],
        ));
        object.insert(
            reader.key().to_owned(),
            json!({"rows_per_s": rates, "rate_ratio": rate_ratios, "cpu_us_per_row": costs,
                   "cpu_ratio": cost_ratios, "rss_mb_max": memory[2]}),
        );
    }
    json!({"rows": workload.changes(), "median_min_max": object})
}
