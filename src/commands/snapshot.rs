//! `lockstep snapshot`: asks ingest, through the log, to publish every row of some tables, and watches it do so.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::{Failure, suggest};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::signal::{NAMES_MAX, Signal};
use lockstep_schemas::snapshot::{Finished, Snapshots};
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::{Database, chunk, writers};
use rdkafka::Message as _;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::cli::{OutputFormat, SnapshotArgs};
use crate::output;

/// Ingest saves its checkpoint twice a second while the log moves. Where it says nothing for so long, it is not there, or
/// waits for somebody.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Progress comes every second, also of a log that rests.
const PROGRESS_WAIT_MAX: Duration = Duration::from_secs(10);
/// What an ingest that is there says of the log is no older.
const PROGRESS_AGE_MAX: Duration = Duration::from_secs(10);

/// The part of ingest's checkpoint that is read here.
#[derive(Deserialize)]
struct Checkpoint {
    #[serde(default)]
    snapshots: Snapshots,
}

pub(crate) async fn run(config: &Config, policy: &Policy, args: &SnapshotArgs) -> anyhow::Result<()> {
    let database = Database::connect(config.database()?, "lockstep-snapshot").await?;
    let send = async |signal: &Signal| {
        let refuse = |error| Failure::unavailable("the request could not be sent").because(error);
        chunk::send(&database, signal).await.map_err(refuse)
    };
    if args.stop {
        send(&Signal::StopSnapshot { id: None }).await?;
        say(args.output.output, "asked ingest to give up every snapshot", json!({"stopping": true}));
        return Ok(());
    }
    let tables = tables(policy, args)?;
    let id = format!("command-{:016x}", fastrand::u64(..));
    let wish = Signal::Snapshot { id: id.clone(), tables };
    if let Some(part) = wish.excess() {
        let what = format!("the snapshot's {part} is beyond what one request may have");
        return Err(Failure::configuration(what).remedy(format!("name at most {NAMES_MAX} tables at a time")).into());
    }
    // Opened before the request, so that no answer is missed.
    let tail = Tail::open(config.kafka()?, "snapshot", topics::CHECKPOINT, Begin::Newest).await;
    send(&wish).await?;
    if args.no_wait {
        say(args.output.output, &format!("asked ingest for snapshot {id}"), json!({"id": id, "asked": true}));
        return Ok(());
    }
    let away = |error| Failure::unavailable("ingest's checkpoint can't be read").because(error);
    let finished = follow(config.kafka()?, &database, &mut tail.map_err(away)?, &id, away).await?;
    report(&finished, args.output.output);
    match finished.failed.as_slice() {
        [] => Ok(()),
        [(table, why), ..] => Err(Failure::configuration(format!("{table} can't be snapshot: {why}")).into()),
    }
}

fn tables(policy: &Policy, args: &SnapshotArgs) -> Result<Vec<String>, Failure> {
    let known: Vec<&str> = policy.groups.values().flat_map(|group| &group.tables).map(|table| &**table).collect();
    if args.all {
        return Ok(known.iter().map(ToString::to_string).collect());
    }
    for table in &args.tables {
        if !known.contains(&table.as_str()) {
            let failure = Failure::configuration(format!("no group of the policy has table {table}"));
            let in_public = format!("public.{table}");
            if known.contains(&in_public.as_str()) {
                return Err(failure.remedy(format!("did you mean {in_public}?")));
            }
            return Err(match suggest::nearest(table, known.iter().copied()) {
                Some(near) => failure.remedy(format!("did you mean {near}?")),
                None => failure.remedy("add it to a group of the policy, and to the publication"),
            });
        }
    }
    Ok(args.tables.clone())
}

async fn follow(
    kafka: &KafkaConfig,
    database: &Database,
    tail: &mut Tail,
    id: &str,
    away: impl Fn(rdkafka::error::KafkaError) -> Failure,
) -> Result<Finished, Failure> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let mut told = String::new();
    if let Ok(style) = ProgressStyle::with_template("  {msg:32} {bar:40} {human_pos}/{human_len} rows  {eta}") {
        bar.set_style(style);
    }
    loop {
        let Ok(message) = tokio::time::timeout(SILENCE_MAX, tail.next()).await else {
            if !is_there(kafka).await {
                return Err(Failure::unavailable("ingest is not there")
                    .remedy("look at `lockstep status`; the request stays in the log, and is done once ingest runs"));
            }
            if let Some(waits) = waits_for(database).await {
                bar.set_message("waits for a transaction that is writing");
                // Once, however long it lasts.
                if waits != told {
                    bar.suspend(|| output::error(&waits));
                    told = waits;
                }
            }
            continue;
        };
        let message = message.map_err(&away)?;
        let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(message.payload().unwrap_or_default()) else {
            continue;
        };
        if let Some(finished) = checkpoint.snapshots.finished.into_iter().find(|one| one.id == id) {
            bar.finish_and_clear();
            return Ok(finished);
        }
        let under_way = checkpoint.snapshots.waiting.iter().find(|one| one.id == id);
        if let Some((one, table)) = under_way.and_then(|one| Some((one, one.tables.first()?))) {
            bar.set_length(one.table_rows_estimated.max(one.table_rows));
            bar.set_position(one.table_rows);
            bar.set_message(format!("{table}, {} tables left", one.tables.len()));
        }
    }
}

/// Whom a chunk waits for: it is read when everything that was committed before it began is visible, and that is known once
/// all who were writing then have ended.
async fn waits_for(database: &Database) -> Option<String> {
    let writer = writers::oldest(database).await.ok()??;
    let remedy = match &writer.pid {
        Some(pid) => format!("it goes on when that ends, or is ended: SELECT pg_terminate_backend({pid})"),
        None => "it goes on when that is committed or rolled back".to_owned(),
    };
    Some(format!("the snapshot waits for {writer}; {remedy}"))
}

/// Whether ingest follows the log.
async fn is_there(kafka: &KafkaConfig) -> bool {
    let newest = async {
        let mut tail = Tail::open(kafka, "snapshot", topics::PROGRESS, Begin::Newest).await.ok()?;
        Progress::from_json(tail.next().await.ok()?.payload()?).ok()
    };
    let newest = tokio::time::timeout(PROGRESS_WAIT_MAX, newest).await.ok().flatten();
    newest.is_some_and(|progress| now_micros() - progress.at < PROGRESS_AGE_MAX.as_micros() as i64)
}

fn report(finished: &Finished, format: OutputFormat) {
    let Finished { id, rows, stopped, failed } = finished;
    let text = if *stopped {
        format!("snapshot {id} was given up after {rows} rows")
    } else {
        format!("snapshot {id}: {rows} rows read")
    };
    say(format, &text, json!({"id": id, "rows": rows, "stopped": stopped, "failed": failed}));
}

fn say(format: OutputFormat, text: &str, object: Json) {
    match format {
        OutputFormat::Text => output::line(text),
        OutputFormat::Json => output::line(&object.to_string()),
    }
}
