//! `lockstep audit --full --once`: every copy in every tier beside its row.

mod noted;
mod repair;
mod report;
mod shadow;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_audit::touched::{self, Touch};
use lockstep_audit::{Auditor, Findings, Scope, Step};
use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::topics;
use lockstep_tiers::Layout;

use crate::cli::{AuditArgs, OutputFormat};
use crate::output;
use report::{Evidence, Report};

/// Exit code where a copy is wrong.
const WRONG: u8 = 1;
/// Of so many wrong copies it is looked for what touched them last: each takes a walk backward through the log.
const LOOKED_UP_MAX: usize = 10;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &AuditArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.shadow {
        return shadow::run(config, file, args.output.output).await;
    }
    if args.noted {
        return noted::run(config, args.output.output).await;
    }
    // With another partition count every key would be looked for where it is not.
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let auditor = Auditor::connect(config, policy).await?;
    let scope = Scope { replicas: !args.without_replicas, ..Scope::default() };
    let bar = bar();
    let findings = auditor.full(&scope, telling(&bar)).await;
    let evidence = evidence(config, policy, &findings).await;
    let repaired = if args.repair {
        let repaired = repair::repair(config, policy, &findings.listed, findings.wrong(), args.timeout, &bar).await;
        Some(repaired)
    } else {
        None
    };
    bar.finish_and_clear();
    // What was found is told, whatever became of its repair.
    let (repaired, failed) = match repaired {
        Some(Err(failure)) => (None, Some(failure)),
        Some(Ok(repaired)) => (Some(repaired), None),
        None => (None, None),
    };
    let report = Report::new(&findings, evidence, repaired);
    match args.output.output {
        OutputFormat::Json => output::line(&serde_json::to_string(&report)?),
        OutputFormat::Text => report.lines().iter().for_each(|line| output::line(line)),
    }
    if let Some(failure) = failed {
        return Err(failure.into());
    }
    let unlooked = unlooked(&findings);
    if findings.wrong() > 0 {
        unlooked.iter().for_each(|failure| output::error(&failure.to_string()));
        return Ok(ExitCode::from(WRONG));
    }
    unlooked.map_or(Ok(ExitCode::SUCCESS), |failure| Err(failure.into()))
}

/// Why "nothing is wrong" can't be said.
fn unlooked(findings: &Findings) -> Option<Failure> {
    if !findings.failed.is_empty() {
        let what = format!("not everything was looked at: {}", findings.failed.join("; "));
        return Some(
            Failure::unavailable(what).remedy("check that database, tiers and edge run where the configuration says"),
        );
    }
    let (tier, why) = findings.unjudged()?;
    Some(
        Failure::unavailable(format!("no copy in {tier} could be judged: {why}"))
            .remedy("is the engine at work, with this namespace and this count of partitions? See `lockstep status`"),
    )
}

/// Drawn where somebody watches.
fn bar() -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} ({per_sec}, {eta} left)") {
        bar.set_style(style);
    }
    bar
}

/// Draws each step.
fn telling(bar: &ProgressBar) -> impl FnMut(Step<'_>) + Send {
    let mut now = String::new();
    move |step: Step<'_>| {
        if now != step.what {
            now = step.what.to_owned();
            bar.reset();
            bar.set_message(format!("comparing {now}"));
        }
        bar.set_length(step.of);
        bar.set_position(step.done);
    }
}

/// Each wrong copy, with what touched its entity last. A log that can't be read leaves that unknown.
async fn evidence(config: &Config, policy: &Policy, findings: &Findings) -> Vec<Evidence> {
    let layout = Layout::new(policy, &config.namespace, config.partitions);
    let mut evidence = Vec::new();
    for (at, violation) in findings.listed.iter().enumerate() {
        let mut touched = None;
        if let (true, Ok(kafka), Some(view)) = (at < LOOKED_UP_MAX, config.kafka(), policy.views.get(&*violation.view))
        {
            let place = layout.place(&view.group, violation.entity.as_str());
            let last =
                touched::find(kafka, policy, &place.group, place.partition, violation.entity.as_str()).await.ok();
            touched = last.and_then(|last| last.change).map(|(offset, change)| Touch::of(offset, &change));
        }
        evidence.push(Evidence { violation: violation.clone(), touched });
    }
    evidence
}
