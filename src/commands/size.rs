//! `lockstep size`: how large the caches should be, from what is there and what is asked for.

mod reads;
mod report;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{HotSet, Policy};
use lockstep_warmer::distances::Distances;
use lockstep_warmer::history::{self, By};

use crate::cli::OutputFormat;
use crate::commands::switch::as_read;
use crate::commands::trace::Trace;
use crate::{output, roles};

use report::{Asked, Curve, Size, print};

/// What comes before this part of what was asked for only teaches the cache.
const TEACHES: f64 = 0.5;
const STEPS: u64 = 1_000;

#[derive(Args)]
pub(crate) struct SizeArgs {
    /// Take what is asked for from a trace (the format of data/README.md) instead of from the log
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Requests a second to reckon with
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub requests: u64,
    /// Entries of each view that are measured, at most
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub sample: u32,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: OutputFormat,
}

/// Measures and prints.
pub(crate) async fn run(config: &Config, policy: &Policy, args: SizeArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    let policy = &as_read(config, policy).await?;
    let measured = reads::measure(config, policy, args.sample as usize).await?;
    let (asked, distances) = match &args.trace {
        Some(path) => of_trace(path.clone(), shutdown).await?,
        None => of_log(config, &shutdown).await?,
    };
    if distances.asked() == 0 {
        let what = "nothing was asked for, so nothing is known of hit ratios";
        return Err(Failure::new(FailureKind::NotYet, what)
            .remedy("let the shop sell for a while, or name a trace with --trace")
            .into());
    }
    let hot_set = policy.views.values().find_map(|view| view.hot_set).unwrap_or(HotSet::Top(1_000));
    let curve = Curve::of(&distances, &measured.views);
    let size = Size::of(measured, asked, curve, args.requests, hot_set);
    match args.output {
        OutputFormat::Json => output::line(&serde_json::to_string(&size)?),
        OutputFormat::Text => print(&size),
    }
    Ok(())
}

async fn of_trace(path: PathBuf, shutdown: Shutdown) -> anyhow::Result<(Asked, Distances)> {
    let by = format!("trace {}", path.display());
    if std::fs::metadata(&path).is_ok_and(|about| !about.is_file()) {
        return Err(Failure::configuration(format!("{} is no file", path.display()))
            .remedy("it is read twice: write what comes to a file first")
            .into());
    }
    let stopped = || Failure::new(FailureKind::NotYet, "stopped before the trace was read");
    let read = tokio::task::spawn_blocking(move || {
        // Once to know where its half is.
        let (mut trace, mut lines) = (Trace::open(&path)?, 0_u64);
        while trace.next_purchase()?.is_some() {
            lines += 1;
            if shutdown.is_cancelled() {
                return Err(stopped());
            }
        }
        let (mut trace, mut distances, bar) =
            (Trace::open(&path)?, Distances::default(), progress("playing the trace"));
        for line in 0..lines {
            let part = line as f64 / lines as f64;
            bar.set_position((part * STEPS as f64) as u64);
            let Some(asked) = trace.next_purchase()? else { break };
            distances.ask(asked.product, part >= TEACHES);
            if shutdown.is_cancelled() {
                return Err(stopped());
            }
        }
        bar.finish_and_clear();
        Ok::<_, Failure>(distances)
    });
    let distances = read.await??;
    Ok((Asked { by, asked: distances.asked(), names: distances.names() }, distances))
}

async fn of_log(config: &Config, shutdown: &Shutdown) -> anyhow::Result<(Asked, Distances)> {
    let (mut distances, bar) = (Distances::default(), progress("reading the log"));
    let mut by = "lines";
    let begin = |which| by = if which == By::Views { "views" } else { "lines" };
    let each = |product: &str, part: f64| {
        distances.ask(product, part >= TEACHES);
        bar.set_position((part * STEPS as f64) as u64);
    };
    history::asked(config, shutdown, begin, each).await?;
    bar.finish_and_clear();
    Ok((Asked { by: by.to_owned(), asked: distances.asked(), names: distances.names() }, distances))
}

fn progress(what: &'static str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {percent}% ({eta} left)") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}
