//! `lockstep bench recovery`: what a tier that forgot costs, beside a backlog of the same run; what a view made anew costs,
//! beside the same rows by `COPY` to a pipelined `HSET`, and to a function that does nothing but write them.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use lockstep_stack::StackOptions;
use lockstep_tiers::{Layout, Place};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::backlog::{self, drain};
use super::catalogue::{GROUP, VIEWS};
use super::chain::{Chain, WAIT_MAX};
use crate::bench::products;
use crate::bench::table::spread;
use crate::demo::output::{Output, thousands};
use crate::demo::roles::Role;
use crate::demo::servers::Servers;
use crate::demo::{Format, PARTITIONS, on_stage};

/// Commands of one round trip.
const PIPELINE: usize = 768;
/// Rows in one call of a function.
const ROWS_A_CALL: usize = 60;
/// The least that a function can do for an entry: write it, and give it an end.
const WRITER: &str = "#!lua name=bench
redis.register_function('bench_write', function(KEYS, ARGV)
  local texts = tonumber(ARGV[1])
  for k, key in ipairs(KEYS) do
    local first = 2 + (k - 1) * texts
    redis.call('HSET', key, unpack(ARGV, first, first + texts - 1))
    redis.call('PEXPIRE', key, 3600000)
  end
  return #KEYS
end)";
const COLUMNS: [&str; 7] = ["product_id", "name", "brand", "category", "colour", "price_pence", "stock"];

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RecoveryArgs {
    /// Rounds; in each, everything is measured once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Products, each an entry on both tiers
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    products: u32,
    /// Changes that L2 forgets, and of the backlog
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=5_000_000))]
    changes: u32,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// One round, in seconds.
struct Round {
    backlog: f64,
    /// Until the engine saw that L2 forgot.
    noticed: f64,
    /// From then until all was as before.
    repaired: f64,
    /// Filling all of a version.
    filled: f64,
    /// The same rows, plainly.
    plain: f64,
    /// The same by a function that writes, and decides nothing.
    written: f64,
}

/// Runs it on a private stack.
pub(crate) async fn recovery(args: RecoveryArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let options =
        StackOptions { kafka_throughput: true, postgres_settings: products::settings(), ..StackOptions::default() };
    let measured = on_stage(options, &output, async |servers: &Servers, _roles| {
        let chain = Chain::open(servers, args.products, &output).await.context("open the chain")?;
        let mut l2 = redis::Client::open(&*servers.l2_url)?.get_multiplexed_async_connection().await?;
        let mut rounds = Vec::new();
        for round in 1..=args.rounds {
            output.line(format!("round {round}: {} changes", thousands(args.changes.into())));
            rounds.push(one(&chain, &mut l2, &args).await?);
        }
        Ok(print(&args, &rounds, &output))
    });
    output.result(&measured.await?);
    Ok(ExitCode::SUCCESS)
}

async fn one(chain: &Chain, l2: &mut MultiplexedConnection, args: &RecoveryArgs) -> Result<Round> {
    let backlog = backlog::round(chain, args.changes).await.context("a backlog")?.seconds;
    let mut engine = chain.launch(Role::Engine).await?;
    let (noticed, repaired) = gap(chain, l2, args.changes, &engine).await.context("a lost gap")?;
    let told = chain.lockstep.rebuild(VIEWS[0], &["--no-switch"]).await?;
    let filled = told["fill_seconds"].as_f64().context("how long the filling took")?;
    chain.lockstep.rebuild(VIEWS[0], &["--finish"]).await?;
    engine.kill().await;
    let plain = copied(chain, l2, hset).await.context("plain HSET")?;
    redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(WRITER).exec_async(l2).await?;
    let written = copied(chain, l2, call).await.context("a function that writes")?;
    redis::cmd("FUNCTION").arg("DELETE").arg("bench").exec_async(l2).await?;
    Ok(Round { backlog, noticed, repaired, filled, plain, written })
}

/// L2 forgets so many changes: its watermarks and the bounds of its entries are what they were before. How long until the
/// engine, at work, saw it; and from then until L2 had them again.
async fn gap(
    chain: &Chain,
    l2: &mut MultiplexedConnection,
    changes: u32,
    engine: &crate::demo::roles::process::RoleProcess,
) -> Result<(f64, f64)> {
    let layout = Layout::new(&chain.policy, "", PARTITIONS as u32);
    let names: Vec<String> =
        (0..PARTITIONS as u32).map(|partition| layout.watermark(&Place { group: GROUP.into(), partition })).collect();
    at_rest(chain).await?;
    let mut before = Vec::new();
    for name in &names {
        let [position, offset]: [String; 2] =
            redis::cmd("HMGET").arg(name).arg("pos").arg("offset").query_async(l2).await?;
        before.push((position, offset));
    }
    chain.change(changes).await?;
    at_rest(chain).await?;
    let least = before.iter().map(|(position, _)| position.clone()).min().context("partitions")?;
    lower(l2, &least).await?;
    let ends = chain.ends().await?;
    let mut forget = redis::pipe();
    forget.atomic();
    for (name, (position, offset)) in names.iter().zip(&before) {
        forget.cmd("HSET").arg(name).arg("pos").arg(position).arg("offset").arg(offset).ignore();
    }
    forget.exec_async(l2).await?;
    let forgotten = chain.reached().await?.context("watermarks")?;
    tokio::time::timeout(WAIT_MAX, drain(chain, engine, &forgotten, &ends)).await.context("it takes too long")?
}

/// Waits until both tiers are at the log's end.
async fn at_rest(chain: &Chain) -> Result<()> {
    let ends = chain.ends().await?;
    let is_there = |offsets: &[i64]| {
        offsets.chunks(ends.len()).all(|tier| tier.iter().zip(&ends).all(|(offset, end)| offset >= end))
    };
    let waiting = async {
        loop {
            if chain.reached().await?.is_some_and(|reached| is_there(&reached.offsets)) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, waiting).await.context("the tiers don't come to the log's end")?
}

/// Entries of L2 say that they hold nothing beyond a position: what is applied again is written again.
async fn lower(l2: &mut MultiplexedConnection, position: &str) -> Result<()> {
    let mut cursor = 0_u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{}:*", VIEWS[0])).arg("COUNT").arg(PIPELINE);
        let (next, names): (u64, Vec<String>) = scan.query_async(l2).await?;
        let mut pipe = redis::pipe();
        for name in names.iter().filter(|name| !name.ends_with(lockstep_schemas::key::MARKER_SUFFIX)) {
            pipe.cmd("HSET").arg(name).arg("_low").arg(position).arg("_high").arg(position).ignore();
        }
        pipe.exec_async(l2).await?;
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// A row of the view: the name that it gets, and its values.
type Named<'r> = (String, Vec<&'r [u8]>);

fn hset(pipe: &mut redis::Pipeline, rows: &[Named<'_>]) {
    for (name, values) in rows {
        let set = pipe.cmd("HSET").arg(name);
        for (column, value) in COLUMNS.iter().zip(values) {
            set.arg(*column).arg(*value);
        }
        set.ignore();
    }
}

fn call(pipe: &mut redis::Pipeline, rows: &[Named<'_>]) {
    for rows in rows.chunks(ROWS_A_CALL) {
        let call = pipe.cmd("FCALL").arg("bench_write").arg(rows.len());
        for (name, _) in rows {
            call.arg(name);
        }
        call.arg(2 * COLUMNS.len());
        for (_, values) in rows {
            for (column, value) in COLUMNS.iter().zip(values) {
                call.arg(*column).arg(*value);
            }
        }
        call.ignore();
    }
}

/// The view's rows by `COPY`, written under other names; they are removed afterwards. How long it took, in seconds.
async fn copied(
    chain: &Chain,
    l2: &mut MultiplexedConnection,
    write: impl Fn(&mut redis::Pipeline, &[Named<'_>]),
) -> Result<f64> {
    let began = Instant::now();
    let mut connection = chain.pool.acquire().await?;
    let sql = format!("COPY (SELECT {} FROM bench_products) TO STDOUT", COLUMNS.join(", "));
    let mut rows = connection.copy_out_raw(&sql).await?;
    let (mut text, mut lines_read, mut names) = (Vec::new(), 0, Vec::new());
    loop {
        let read = rows.try_next().await?;
        let news = read.as_deref().unwrap_or_default();
        text.extend_from_slice(news);
        lines_read += news.iter().filter(|byte| **byte == b'\n').count();
        if read.is_some() && lines_read < PIPELINE {
            continue;
        }
        lines_read = 0;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let named = |line: &[u8]| {
            format!("plain:{}", String::from_utf8_lossy(line.split(|b| *b == b'\t').next().unwrap_or_default()))
        };
        let lines: Vec<&[u8]> = text[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let rows_read: Vec<Named<'_>> =
            lines.iter().map(|line| (named(line), line.split(|byte| *byte == b'\t').collect())).collect();
        for rows in rows_read.chunks(PIPELINE) {
            let mut pipe = redis::pipe();
            write(&mut pipe, rows);
            pipe.exec_async(l2).await?;
        }
        names.extend(rows_read.into_iter().map(|(name, _)| name));
        text.drain(..end);
        if read.is_none() {
            break;
        }
    }
    let took = began.elapsed().as_secs_f64();
    for some in names.chunks(PIPELINE) {
        redis::cmd("UNLINK").arg(some).exec_async(l2).await?;
    }
    Ok(took)
}

fn print(args: &RecoveryArgs, rounds: &[Round], output: &Output) -> Value {
    let of = |figure: &dyn Fn(&Round) -> f64| spread(rounds.iter().map(figure));
    let (changes, products) = (f64::from(args.changes), f64::from(args.products));
    let (backlog, repaired) = (of(&|round| changes / round.backlog), of(&|round| changes / round.repaired));
    let repair_ratio = of(&|round| round.backlog / round.repaired);
    let noticed = of(&|round| round.noticed);
    let (plain, filled) = (of(&|round| products / round.plain), of(&|round| products / round.filled));
    let fill_ratio = of(&|round| round.plain / round.filled);
    let (written, written_ratio) = (of(&|round| products / round.written), of(&|round| round.plain / round.written));
    let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
    let rate = |rates: [f64; 3]| {
        let [median, least, greatest] = rates.map(|rate| thousands(rate as u64));
        format!("{median} ({least}-{greatest})")
    };
    output.line("");
    output.line(format!("{} rounds; median (least to greatest)", rounds.len()));
    output.line(format!("a backlog drained   {} changes/s", rate(backlog)));
    output.line(format!("a gap repaired      {} changes/s, {} of the backlog", rate(repaired), shown(repair_ratio)));
    output.line(format!("noticed after       {} s", shown(noticed)));
    output.line(format!("COPY to HSET        {} entries/s", rate(plain)));
    output.line(format!("COPY to a function  {} entries/s, {} of COPY to HSET", rate(written), shown(written_ratio)));
    output.line(format!("a view rebuilt      {} entries/s, {} of COPY to HSET", rate(filled), shown(fill_ratio)));
    json!({"changes": changes, "entries": products, "backlog_changes_per_s": backlog, "repair_changes_per_s": repaired,
           "repair_ratio": repair_ratio, "noticed_s": noticed, "plain_entries_per_s": plain,
           "function_entries_per_s": written, "function_ratio": written_ratio, "rebuild_entries_per_s": filled, "rebuild_ratio": fill_ratio})
}
