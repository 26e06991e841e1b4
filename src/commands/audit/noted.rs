//! `lockstep audit --noted`: what the role audit has found to be wrong, and kept.

use std::process::ExitCode;

use lockstep_audit::noted;
use lockstep_audit::notes::Note;
use lockstep_process::Failure;
use lockstep_process::config::Config;

use crate::cli::OutputFormat;
use crate::commands::switch::time;
use crate::output;

pub(super) async fn run(config: &Config, format: OutputFormat) -> anyhow::Result<ExitCode> {
    let notes = noted(config.kafka()?).await.map_err(|error| {
        Failure::unavailable("can't read what the audit has kept")
            .because(error)
            .remedy("check that Kafka runs where the configuration says, and that ingest has created the topics")
    })?;
    match format {
        OutputFormat::Json => output::line(&serde_json::to_string(&notes)?),
        OutputFormat::Text if notes.is_empty() => output::line("nothing is noted to have been wrong"),
        OutputFormat::Text => notes.iter().for_each(|note| output::line(&line(note))),
    }
    Ok(ExitCode::SUCCESS)
}

fn line(note: &Note) -> String {
    let times =
        if note.met == 1 { "once".to_owned() } else { format!("{} times since {}", note.met, time(note.first_at)) };
    let repaired = note.repaired_at.map(|at| format!("; repaired at {}", time(at))).unwrap_or_default();
    let touched = note.touched.as_ref().map(|touch| format!("; {touch}")).unwrap_or_default();
    format!("{} {}; met {times}{repaired}{touched}", time(note.last_at), note.violation)
}
