//! The command line of what mends, holds and fills by hand.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use lockstep_schemas::signal::TEXT_BYTES_MAX;

use super::{OutputArgs, duration};

/// A reason, no longer than what is kept of one.
fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("say why".to_owned()),
        bytes if bytes > TEXT_BYTES_MAX => Err(format!("{bytes} bytes, and at most {TEXT_BYTES_MAX} are kept")),
        _ => Ok(text.to_owned()),
    }
}

#[derive(Subcommand)]
pub(crate) enum ParkedCommand {
    /// List what is parked
    Ls(ParkedList),
    /// All that is known of one thing
    Show(ParkedShow),
    /// Drop the entries concerned, through the log, so that readers fill them anew
    Retry(ParkedResolve),
    /// Say that nothing is to be done
    Drop(ParkedResolve),
}

/// Which parked things: all that is given must fit, exactly.
#[derive(Args, Debug)]
pub(crate) struct ParkedChoice {
    /// By number, as `ls` prints it
    #[arg(long, value_delimiter = ',')]
    pub id: Vec<i64>,
    /// By kind, e.g. row-too-large, unreadable
    #[arg(long)]
    pub kind: Option<String>,
    /// By who parked it: ingest, engine, warmer
    #[arg(long)]
    pub by: Option<String>,
    /// By table or topic, e.g. public.products
    #[arg(long)]
    pub table: Option<String>,
}

#[derive(Args)]
pub(crate) struct ParkedList {
    #[command(flatten)]
    pub choice: ParkedChoice,
    /// Those too of which something came
    #[arg(long = "resolved")]
    pub all_of_them: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct ParkedShow {
    /// Its number, as `ls` prints it
    pub id: i64,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct ParkedResolve {
    #[command(flatten)]
    pub choice: ParkedChoice,
    /// All that is open
    #[arg(long, required_unless_present_any = ["id", "kind", "by", "table"])]
    pub all: bool,
    /// Why: kept with what came of it
    #[arg(long, value_parser = reason)]
    pub reason: String,
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Things a second
    #[arg(long, default_value = "100")]
    pub rate: NonZeroU32,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
#[group(id = "what", required = true, multiple = true, args = ["key", "tag"])]
pub(crate) struct PurgeArgs {
    /// A key without what a cluster puts around it, e.g. product:all:85123A: everything made of its entity goes
    #[arg(long)]
    pub key: Vec<String>,
    /// A tag of the edge, e.g. product:85123A: everything made of its entity goes, beneath the edge first
    #[arg(long)]
    pub tag: Vec<String>,
    /// Return when each tier is proven, the edge by asking for the pages
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "60s", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct SwitchArgs {
    /// Why: everybody reads it in `lockstep status`, and it stays in the trail
    #[arg(long, value_parser = reason)]
    pub reason: String,
    /// For how long, e.g. 10m
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub duration: Duration,
}

#[derive(Args)]
pub(crate) struct PauseArgs {
    /// A lane (catalogue.3), all of a group (catalogue), or of a view's group (product_all)
    pub lane: String,
    #[command(flatten)]
    pub switch: SwitchArgs,
}

#[derive(Args)]
pub(crate) struct ResumeArgs {
    /// What was paused, by the same name
    pub lane: String,
    /// Why
    #[arg(long, value_parser = reason)]
    pub reason: String,
}

#[derive(Args)]
pub(crate) struct BypassArgs {
    /// The view, e.g. product_all
    pub view: String,
    /// On or off
    #[arg(value_enum)]
    pub state: Toggle,
    #[command(flatten)]
    pub switch: SwitchArgs,
}

/// Which way a switch is turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Toggle {
    /// From now on
    On,
    /// No longer
    Off,
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// Where it begins: a time (2026-03-01T12:00:00Z), a day (2026-03-01), an age (90m), an offset of one partition, or a
    /// position; without it, the log's oldest record
    #[arg(long)]
    pub from: Option<String>,
    /// Where it ends, in the same forms, not with it; without it, where the log ends now
    #[arg(long)]
    pub to: Option<String>,
    /// Only these groups
    #[arg(long)]
    pub group: Vec<String>,
    /// Only these views
    #[arg(long)]
    pub view: Vec<String>,
    /// Only views of these tiers
    #[arg(long, value_parser = ["l1", "l2", "l3"])]
    pub tier: Vec<String>,
    /// Only these partitions
    #[arg(long)]
    pub partition: Vec<u32>,
    /// Only the entities of these keys, e.g. product:all:85123A
    #[arg(long)]
    pub key: Vec<String>,
    /// Say how many entries of each view would be dropped
    #[arg(long)]
    pub dry_run: bool,
    /// Entities a second
    #[arg(long, default_value = "1000")]
    pub rate: NonZeroU32,
    /// A file that notes where it is: the same command with the same file goes on after it was stopped or killed
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub notes: Option<PathBuf>,
    /// Do not wait until the tiers have applied it
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for the tiers
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl ReplayArgs {
    /// What tells one replay from another.
    pub fn fingerprint(&self) -> String {
        let ReplayArgs { from, to, group, view, tier, partition, key, .. } = self;
        format!("{from:?} {to:?} {group:?} {view:?} {tier:?} {partition:?} {key:?}")
    }
}

#[derive(Args)]
pub(crate) struct WarmArgs {
    /// The view, e.g. product_all; without it, all that the policy marks `warm = true`
    pub view: Option<String>,
    /// Entries filled a second, at most; without it, as fast as it goes
    #[arg(long)]
    pub rate: Option<NonZeroU32>,
}

#[derive(Args)]
pub(crate) struct RebuildArgs {
    /// The view, e.g. product_all
    pub view: String,
    /// Have readers read the other version again
    #[arg(long)]
    pub back: bool,
    /// Give the version up that readers don't read, and remove its entries
    #[arg(long, conflicts_with = "back")]
    pub finish: bool,
    /// Make it and compare it, and leave readers where they are
    #[arg(long, conflicts_with_all = ["back", "finish"])]
    pub no_switch: bool,
    /// Entries filled or removed a second, at most; without it, as fast as it goes
    #[arg(long)]
    pub rate: Option<NonZeroU32>,
    /// Why: it stays in the trail
    #[arg(long, default_value = "rebuild")]
    pub reason: String,
    /// How long to wait until every lane keeps the new version in step
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}
