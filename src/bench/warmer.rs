//! `lockstep bench warmer`: the hit ratio of an L1 that is warmed each hour of a real shop's sales, beside an L1 of the same
//! size that is left to its readers. Both lie in the same real Redis, behind the gateway's own reads, leases and fills, and see
//! the same reads; only the time between reads is left out.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use lockstep_stack::StackOptions;
use lockstep_warmer::forecast::hour::Hour;
use serde_json::json;

use crate::commands::trace::hour;
use crate::demo::output::{Output, thousands};
use crate::demo::roles::Roles;
use crate::demo::servers::Servers;
use crate::demo::{Format, on_stage};

mod arms;
mod reads;
mod shop;

use arms::Played;
use shop::Shop;

/// What is to be measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WarmerArgs {
    /// Reads from here count; what lies before is learnt from
    #[arg(long, value_name = "DATE", default_value = "2011-03-01", value_parser = hour)]
    from: Hour,
    /// Reads before this one count
    #[arg(long, value_name = "DATE", default_value = "2011-05-01", value_parser = hour)]
    to: Hour,
    /// Entries of each L1
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    k: u32,
    /// How to print it; the last line of `json` is one object
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs it on a private stack.
pub(crate) async fn warmer(args: WarmerArgs) -> Result<ExitCode> {
    let output = Arc::new(Output::new(args.format == Format::Json));
    let reads =
        tokio::task::spawn_blocking(move || reads::of(args.from, args.to)).await.context("read the sales")??;
    let options = StackOptions::default();
    let played = on_stage(options, &output, async |servers: &Servers, _roles: &mut Roles| {
        let shop = Shop::open(servers, &reads.products, &output).await.context("open the shop")?;
        let played = arms::play(&shop, &reads, args.k as usize, &output).await.context("play the sales")?;
        shop.close().await;
        Ok(played)
    });
    print(&played.await?, args.k, &output);
    Ok(ExitCode::SUCCESS)
}

fn print(played: &Played, k: u32, output: &Output) {
    let Played { reads, hours, warmed_hits, lru_hits, shadow_hits, filled, entries } = played;
    let ratio = |hits: u64| hits as f64 / (*reads as f64).max(1.0);
    let points = (ratio(*warmed_hits) - ratio(*lru_hits)) * 100.0;
    output.line(format!(
        "{} reads of {} hours, each a line of a real shop's sales; {} entries in each L1",
        thousands(*reads),
        thousands(*hours),
        thousands(k.into())
    ));
    output.line(format!("reference: left to its readers, an exact LRU      {:>6.2} % hits", ratio(*lru_hits) * 100.0));
    output
        .line(format!("warmed each hour by the forecast                  {:>6.2} % hits", ratio(*warmed_hits) * 100.0));
    output.line(format!("difference                                        {points:>+6.2} points"));
    output.line(format!(
        "{} entries filled by warming; in the end {} and {} entries in L1",
        thousands(*filled),
        thousands(entries[0]),
        thousands(entries[1])
    ));
    output.result(&json!({
        "reads": reads, "hours": hours, "k": k,
        "hit_ratio": {"warmed": ratio(*warmed_hits), "lru": ratio(*lru_hits), "shadow_lru": ratio(*shadow_hits)},
        "points": points, "filled": filled, "entries": {"warmed": entries[0], "lru": entries[1]},
    }));
}
