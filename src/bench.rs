//! Measurements.

use std::process::ExitCode;

/// `lockstep bench latency`.
#[derive(clap::Args)]
pub(crate) struct LatencyArgs {}

/// Not yet.
pub(crate) async fn latency(_: LatencyArgs) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
