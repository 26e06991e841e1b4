//! `lockstep audit --shadow FILE`: how wrong a cache is that is not ours.

use std::path::Path;
use std::process::ExitCode;

use lockstep_audit::shadow::{Fate, Plan, ShadowFindings, shadow};
use lockstep_process::Failure;
use lockstep_process::config::Config;

use super::{WRONG, bar, telling};
use crate::cli::OutputFormat;
use crate::output;

pub(super) async fn run(config: &Config, file: &Path, format: OutputFormat) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::configuration(format!("can't read {}", file.display()))
            .because(error)
            .remedy("give the file that maps keys to columns (docs/operation.md, \"A cache of your own\")")
    })?;
    let named = |failure: Failure| Failure::configuration(format!("{}: {failure}", file.display()));
    let plan = Plan::parse(&text).map_err(named)?;
    let bar = bar();
    let findings = shadow(config.database()?, &plan, telling(&bar)).await?;
    bar.finish_and_clear();
    match format {
        OutputFormat::Json => output::line(&serde_json::to_string(&findings)?),
        OutputFormat::Text => lines(&findings).iter().for_each(|line| output::line(line)),
    }
    Ok(if findings.wrong() > 0 { ExitCode::from(WRONG) } else { ExitCode::SUCCESS })
}

fn lines(findings: &ShadowFindings) -> Vec<String> {
    let mut lines = Vec::new();
    for of in &findings.patterns {
        let (wrong, judged) = (of.wrong(), of.judged());
        let percent = if judged > 0 { wrong as f64 * 100.0 / judged as f64 } else { 0.0 };
        lines.push(format!("{}: {judged} entries compared, {wrong} wrong ({percent:.2} %)", of.pattern));
        if of.results.is_empty() {
            lines.push("  no key has this form: is the pattern right?".to_owned());
        }
        let shown = Fate::WRONG.into_iter().chain([Fate::InFlight, Fate::Ambiguous]);
        for result in shown.filter(|result| of.count(*result) > 0) {
            lines.push(format!("  {}: {}", result.as_str(), of.count(result)));
        }
    }
    for wrong in &findings.listed {
        let seconds = |seconds: Option<u64>, without: &str| seconds.map_or(without.to_owned(), |s| format!("{s} s"));
        lines.push(format!(
            "{}: {} ({}); it lives for {}, the row changed {} ago",
            wrong.key,
            wrong.result.as_str(),
            wrong.fields.join(", "),
            seconds(wrong.left_seconds, "ever"),
            seconds(wrong.changed_seconds_ago, "an unknown time")
        ));
    }
    lines
}
