//! The command line of what lies where on a cluster.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{OutputArgs, duration};

/// A tier that may be a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterTier {
    L2,
    L1,
}

#[derive(Args)]
pub(crate) struct PlacementArgs {
    /// Only this tier; without it, all that are clusters
    #[arg(long, value_enum)]
    pub tier: Option<ClusterTier>,
    /// Plan for so many primaries; without it, for those that there are
    #[arg(long, value_name = "N")]
    pub nodes: Option<NonZeroU16>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Args)]
pub(crate) struct MoveArgs {
    /// Whose slot: a lane, e.g. catalogue.3
    pub lane: String,
    /// The tier
    #[arg(long, value_enum)]
    pub tier: ClusterTier,
    /// The primary that is to have it, host:port as `lockstep placement` prints it
    #[arg(long)]
    pub to: String,
    /// Entries removed a second, at most, where the servers can't move a slot at one stroke
    #[arg(long, default_value = "50000")]
    pub rate: NonZeroU32,
    /// How long to wait until the lane has raised its floor
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}
