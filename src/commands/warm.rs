//! `lockstep warm`.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::Policy;
use lockstep_warmer::warm::{Warmed, warm};

use crate::{output, roles};

pub(crate) async fn run(config: &Config, policy: &Policy, name: &str) -> anyhow::Result<()> {
    let view = policy.view(name).map_err(|nearest| {
        let unknown = Failure::configuration(format!("there is no view `{name}`"));
        match nearest {
            Some(meant) => unknown.remedy(format!("did you mean `{meant}`?")),
            None => unknown,
        }
    })?;
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} ({per_sec}, {eta} left)") {
        bar.set_style(style);
    }
    bar.set_message(format!("warming {name}"));
    let told = |warmed: Warmed| {
        bar.set_length(warmed.of.max(warmed.looked));
        bar.set_position(warmed.looked);
    };
    let warmed = warm(config, policy, view, &shutdown, told).await?;
    bar.finish_and_clear();
    let entities = warmed.looked;
    output::line(&format!(
        "{name}: {} entries filled, {} were there",
        warmed.filled,
        entities - warmed.filled.min(entities)
    ));
    Ok(())
}
