//! `lockstep warm`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{Policy, View};
use lockstep_warmer::warm::{Budget, Warmed, warm};

use super::switch::{as_read, view};
use crate::cli::WarmArgs;
use crate::{output, roles};

/// Fills one view, or every view that the policy marks `warm = true`.
pub(crate) async fn run(config: &Config, policy: &Policy, args: &WarmArgs) -> anyhow::Result<()> {
    // What the policy alone tells is told before a server is asked.
    let chosen = |policy: &Policy| -> Result<Vec<Arc<View>>, Failure> {
        match args.view.as_deref() {
            Some(name) => Ok(vec![view(policy, name)?.clone()]),
            None => Ok(policy.views.values().filter(|view| view.warm).cloned().collect()),
        }
    };
    if chosen(policy)?.is_empty() {
        return Err(Failure::configuration("no view is marked `warm = true`")
            .remedy("name one: lockstep warm VIEW")
            .into());
    }
    let policy = &as_read(config, policy).await?;
    let views = chosen(policy)?;
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} ({per_sec}, {eta} left)") {
        bar.set_style(style);
    }
    for view in &views {
        bar.set_message(format!("warming {}", view.name));
        let told = |warmed: Warmed| {
            bar.set_length(warmed.of.max(warmed.looked));
            bar.set_position(warmed.looked);
        };
        let warmed = warm(config, policy, view, Budget { rate: args.rate }, &shutdown, told).await?;
        let more = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let others = more(warmed.contested, "left to others who were filling or changing them");
        let unfit = more(warmed.unfit(), "that can't be cached");
        bar.suspend(|| {
            output::line(&format!(
                "{}: {} entries filled, {} were there{others}{unfit}",
                view.name, warmed.filled, warmed.there
            ))
        });
        if shutdown.is_cancelled() {
            bar.finish_and_clear();
            let why = format!("warming {} was stopped after {} of {} entities", view.name, warmed.looked, warmed.of);
            let stopped = Failure::new(FailureKind::NotYet, why);
            return Err(stopped.remedy("the same command goes on: what is there is passed over").into());
        }
    }
    bar.finish_and_clear();
    Ok(())
}
