//! `lockstep functions`: the versions of the function library on both tiers.

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::Policy;
use lockstep_tiers::{Installed, Tier, TierError};

use super::status::Watermarks;
use crate::cli::FunctionsCommand;
use crate::output;

/// Lists what is there, or removes what is older than this process.
pub(crate) async fn run(config: &Config, policy: &Policy, command: FunctionsCommand) -> anyhow::Result<()> {
    for tier in Watermarks::connect(config, policy).await?.tiers() {
        let found = match command {
            FunctionsCommand::List => tier.libraries().await,
            FunctionsCommand::Prune => tier.prune_libraries().await,
        };
        print(tier, command, &found.map_err(|error| refused(tier, error))?);
    }
    Ok(())
}

fn print(tier: &Tier, command: FunctionsCommand, found: &[Installed]) {
    let name = tier.name.as_str();
    if found.is_empty() {
        let what = if command == FunctionsCommand::List { "no library of ours" } else { "nothing to remove" };
        output::line(&format!("{name}: {what}"));
    }
    for Installed { node, library, is_older } in found {
        let what = match command {
            FunctionsCommand::Prune => " removed",
            FunctionsCommand::List if *is_older => " (older)",
            FunctionsCommand::List => "",
        };
        output::line(&format!("{name}: {node}: {library}{what}"));
    }
}

fn refused(tier: &Tier, error: TierError) -> Failure {
    Failure::unavailable(format!("can't see to the function libraries of {}", tier.name.as_str()))
        .because(error)
        .remedy("check that every primary answers, and that the user may run FUNCTION LIST and FUNCTION DELETE")
}
