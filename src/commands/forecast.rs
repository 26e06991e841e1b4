//! `lockstep forecast evaluate`: a trace of sales played strictly online, and how much of each hour would have been warm.

mod chart;
mod rows;

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use lockstep_warmer::forecast::evaluate::{Coverage, Evaluation, HOUR_LINES_MIN, Span};
use lockstep_warmer::forecast::hour::Hour;

use crate::commands::trace::{Line, Trace, hour};
use crate::output;

/// As many sizes as can be told apart in a table.
const SIZES_MAX: usize = 8;
const SIZE_MAX: i64 = 1_000_000;
/// Lines between two looks at the progress bar.
const LINES_A_STEP: u64 = 10_000;

#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// The trace: CSV, also gzipped, with a header that names ts, product_id and kind, sorted by time
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Hours from here count, e.g. 2011-03-01; what lies before is learnt from
    #[arg(long, value_name = "DATE", value_parser = hour)]
    from: Hour,
    /// Hours before this one count; up to the end without it
    #[arg(long, value_name = "DATE", value_parser = hour)]
    to: Option<Hour>,
    /// Sizes of the warmed set
    #[arg(long, value_name = "K", value_delimiter = ',', default_values_t = [236, 472, 1_000],
          value_parser = clap::value_parser!(i64).range(1..=SIZE_MAX))]
    k: Vec<i64>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// How an evaluation is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table
    Text,
    /// A row a model and size
    Json,
    /// A chart of each day's mean
    Svg,
}

/// Evaluates and prints.
pub(crate) async fn evaluate(args: EvaluateArgs) -> Result<(), Failure> {
    let played = tokio::task::spawn_blocking(move || play(&args).map(|results| (args, results)));
    let (args, results) = played.await.map_err(|error| Failure::internal("the evaluation").because(error))??;
    output::line(&match args.output {
        Format::Text => rows::text(&results),
        Format::Json => rows::json(&results),
        Format::Svg => chart::svg(&results),
    });
    Ok(())
}

fn play(args: &EvaluateArgs) -> Result<Vec<Coverage>, Failure> {
    let mut sizes: Vec<usize> = args.k.iter().filter_map(|k| usize::try_from(*k).ok()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let wrong = |what: String| Failure::new(FailureKind::Usage, what);
    if sizes.len() > SIZES_MAX {
        return Err(wrong(format!("{} sizes are too many", sizes.len())).remedy(format!("name at most {SIZES_MAX}")));
    }
    let to = args.to.unwrap_or(Hour::new(i64::MAX));
    if to <= args.from {
        return Err(wrong("no hour lies between --from and --to".to_owned()).remedy("let --to be later"));
    }
    let mut trace = Trace::open(&args.trace)?;
    let bar = progress(trace.bytes());
    let mut evaluation = Evaluation::new(&sizes, Span { from: args.from, to });
    let mut lines = 0_u64;
    while let Some(Line { hour, product }) = trace.next_purchase()? {
        if hour >= to {
            break;
        }
        evaluation.sold(product, hour);
        lines += 1;
        if lines.is_multiple_of(LINES_A_STEP) {
            bar.set_position(trace.bytes_read());
        }
    }
    let results = evaluation.finish();
    bar.finish_and_clear();
    if results.iter().all(|coverage| coverage.hours.is_empty()) {
        let what = format!("no hour of the trace with at least {HOUR_LINES_MIN} lines lies in that span");
        return Err(wrong(what).remedy(format!("choose --from and --to within {}", trace.span())));
    }
    Ok(results)
}

fn progress(bytes: u64) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(bytes) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("playing the trace {bar:40} {percent}% ({eta} left)") {
        bar.set_style(style);
    }
    bar
}
