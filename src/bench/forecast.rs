//! `lockstep bench forecast`: lines learnt from and sets selected in one thread, beside a plain sort by counts.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lockstep_warmer::forecast::cut::top;
use lockstep_warmer::forecast::hour::Hour;
use lockstep_warmer::forecast::online::Forecast;
use serde_json::json;

use super::usage::rss_mb_max;
use crate::demo::Format;
use crate::demo::output::{Output, thousands};

/// Any hour does.
const FIRST_HOUR: i64 = 360_000;

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ForecastArgs {
    /// Order lines
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    events: u32,
    /// Selections, one an hour, each after judging every way by the hour before
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    selections: u32,
    /// Products
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    products: u32,
    /// Size of a set
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    k: u32,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "text")]
    output: Format,
}

/// Measures and prints.
pub(crate) async fn forecast(args: ForecastArgs) -> Result<ExitCode> {
    let output = Output::new(args.output == Format::Json);
    let measured = tokio::task::spawn_blocking(move || measure(&args));
    let Measured { args, ours, reference, rss_mb } = measured.await.context("the measurement")?;
    let ratio = ours.as_secs_f64() / reference.as_secs_f64().max(1e-9);
    output.line(format!(
        "{} lines of {} products, {} selections of {}, one thread",
        thousands(args.events.into()),
        thousands(args.products.into()),
        thousands(args.selections.into()),
        thousands(args.k.into())
    ));
    output.line(format!(
        "reference: counts, and a sort of them all for each selection  {:>8.2} s",
        reference.as_secs_f64()
    ));
    output.line(format!(
        "forecast: all half-lives and terms judged, the best selected  {:>8.2} s  {ratio:.2} x",
        ours.as_secs_f64()
    ));
    output.line(format!("the most memory that the process held                         {rss_mb:>8.1} MB"));
    output.result(&json!({
        "seconds": ours.as_secs_f64(), "reference_seconds": reference.as_secs_f64(), "ratio": ratio, "rss_mb_max": rss_mb,
        "events": args.events, "selections": args.selections, "products": args.products, "k": args.k,
    }));
    Ok(ExitCode::SUCCESS)
}

struct Measured {
    args: ForecastArgs,
    ours: Duration,
    reference: Duration,
    rss_mb: f64,
}

fn measure(args: &ForecastArgs) -> Measured {
    let names: Vec<String> = (0..args.products).map(|number| format!("{:05}", number + 20_000)).collect();
    let ours = ours(args, &names);
    let reference = reference(args, &names);
    Measured { args: args.clone(), ours, reference, rss_mb: rss_mb_max(std::process::id()).unwrap_or_default() }
}

fn ours(args: &ForecastArgs, names: &[String]) -> Duration {
    let (mut lines, mut room) = (Lines::of(args), Vec::new());
    let began = Instant::now();
    let mut forecast = Forecast::new(&[args.k as usize]);
    for at in 0..args.selections {
        let hour = Hour::new(FIRST_HOUR + i64::from(at));
        lines.of_hour(at).for_each(|product| forecast.sold(&names[product], hour));
        forecast.advance(hour.plus(1));
        let way = forecast.chosen(0);
        black_box(top(forecast.expect(way, hour.plus(1)), args.k as usize, &mut room));
    }
    began.elapsed()
}

/// The plainest way to rank: a count a product, all of them sorted.
fn reference(args: &ForecastArgs, names: &[String]) -> Duration {
    let mut lines = Lines::of(args);
    let began = Instant::now();
    let mut counts: std::collections::HashMap<&str, u32> = std::collections::HashMap::new();
    for at in 0..args.selections {
        lines.of_hour(at).for_each(|product| *counts.entry(&names[product]).or_default() += 1);
        let mut ranked: Vec<(&str, u32)> = counts.iter().map(|(name, count)| (*name, *count)).collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        ranked.truncate(args.k as usize);
        black_box(ranked);
    }
    began.elapsed()
}

/// The same lines for both: some products sell far more than others.
struct Lines {
    random: fastrand::Rng,
    events: u64,
    hours: u64,
    products: usize,
}

impl Lines {
    fn of(args: &ForecastArgs) -> Self {
        let (events, hours) = (args.events.into(), args.selections.into());
        Lines { random: fastrand::Rng::with_seed(7), events, hours, products: args.products as usize }
    }

    fn of_hour(&mut self, at: u32) -> impl Iterator<Item = usize> + '_ {
        let before = |hour: u64| self.events * hour / self.hours;
        let count = before(u64::from(at) + 1) - before(at.into());
        (0..count).map(|_| ((self.random.f64().powi(3) * self.products as f64) as usize).min(self.products - 1))
    }
}
