//! `lockstep parked`: what could not be done as it should, and what an operator does about it.
//!
//! A retry drops the entries concerned through the log, and the word that it was done goes the same way, in the same
//! transaction: whoever is killed in between has done both or neither. Before each step all that earlier ones have sent is
//! waited for, so that nothing is retried twice.

mod select;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::parked::{Outcome, Resolution, Spot, Things, Word};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::position::Position;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::record::Event;
use lockstep_schemas::shown::Shown;
use lockstep_schemas::signal::Signal;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_source::signals::Turn;
use rdkafka::Message as _;
use serde_json::json;

use super::applied::{away, position_before};
use super::records::{Ranges, Records, ends};
use super::status::log_away;
use super::switch::time;
use crate::cli::{OutputFormat, ParkedChoice, ParkedCommand, ParkedResolve};
use crate::{output, roles};
use select::{Selection, is_meant};

/// Names the turn among the database's advisory locks.
const TURN: i64 = 0x6c6f_636b_7061_726b;
/// Things of one transaction.
const STEP_MAX: usize = 100;
/// Ingest says how far it is every second or two.
const INGEST_WAIT_MAX: Duration = Duration::from_secs(30);

pub(crate) async fn run(config: &Config, policy: &Policy, command: &ParkedCommand) -> anyhow::Result<()> {
    match command {
        ParkedCommand::Ls(args) => list(config, policy, &args.choice, args.all_of_them, args.output.output).await?,
        ParkedCommand::Show(args) => show(config, policy, args.id, args.output.output).await?,
        ParkedCommand::Retry(args) => Resolving { config, policy, args, outcome: Outcome::Retried }.run().await?,
        ParkedCommand::Drop(args) => Resolving { config, policy, args, outcome: Outcome::Dropped }.run().await?,
    }
    Ok(())
}

/// All that the topic holds now.
async fn things(config: &Config) -> Result<Things, Failure> {
    let kafka = config.kafka()?;
    let mut things = Things::default();
    let read = async {
        let mut tail = Tail::open(kafka, "parked", topics::PARKED, Begin::Oldest).await?;
        while let Some(message) = tail.next_before_end().await? {
            things.take(message.offset(), message.payload().unwrap_or_default());
        }
        Ok(())
    };
    read.await.map_err(|error| log_away(kafka, error))?;
    Ok(things)
}

async fn list(
    config: &Config,
    policy: &Policy,
    choice: &ParkedChoice,
    with_resolved: bool,
    format: OutputFormat,
) -> Result<(), Failure> {
    let things = things(config).await?;
    let meant = things
        .all()
        .filter(|(id, word, came)| is_meant(choice, *id, word) && (with_resolved || came.is_none()))
        .collect::<Vec<_>>();
    for (id, word, came) in &meant {
        match format {
            OutputFormat::Json => output::line(&as_json(policy, *id, word, *came).to_string()),
            OutputFormat::Text => output::line(&format!(
                "{id:>8}  {:<7}  {:<16}  {}{}",
                word.by,
                word.reason,
                what(policy, word),
                came.map_or(String::new(), |came| format!("  ({})", came.outcome.as_str()))
            )),
        }
    }
    if format == OutputFormat::Text {
        let more =
            if things.left_out > 0 { format!("; {} older ones are left out", things.left_out) } else { String::new() };
        output::line(&format!("{} parked{more}", meant.len()));
    }
    Ok(())
}

async fn show(config: &Config, policy: &Policy, id: i64, format: OutputFormat) -> Result<(), Failure> {
    let things = things(config).await?;
    let found = things.all().find(|(known, ..)| *known == id);
    let (_, word, came) = found.ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("nothing is parked as {id}"))
            .remedy("see `lockstep parked ls --resolved`")
    })?;
    if format == OutputFormat::Json {
        output::line(&as_json(policy, id, word, came).to_string());
        return Ok(());
    }
    output::line(&format!("{id}: {} by {}, {}", word.reason, word.by, what(policy, word)));
    output::line(&format!("  position: {}", word.position));
    output::line(&format!("  cause: {}", word.cause));
    output::line(&format!("  remedy: {}", word.remedy));
    match came {
        None => output::line("  open"),
        Some(came) => output::line(&format!("  {} at {} {}", came.outcome.as_str(), time(came.at), came.why)),
    }
    Ok(())
}

/// What a thing is about, in a line; a private entity is masked.
fn what(policy: &Policy, word: &Word) -> String {
    match (&word.group, &word.entity, &word.record) {
        (_, _, Some(Spot { topic, partition, offset })) => format!("{topic}, partition {partition}, offset {offset}"),
        (Some(_), Some(_), None) => format!("{} {}", word.table, entity(policy, word).unwrap_or_default()),
        _ => word.table.clone(),
    }
}

fn entity(policy: &Policy, word: &Word) -> Option<String> {
    let entity = word.entity.as_ref()?;
    let group = policy.groups.get(word.group.as_deref()?);
    Some(group.map_or_else(|| Shown::private(entity).to_string(), |group| group.shown(entity).to_string()))
}

fn as_json(policy: &Policy, id: i64, word: &Word, came: Option<&Resolution>) -> serde_json::Value {
    json!({
        "id": id, "by": word.by, "reason": word.reason, "cause": word.cause, "remedy": word.remedy,
        "table": word.table, "position": word.position, "group": word.group, "entity": entity(policy, word),
        "record": word.record, "outcome": came.map(|came| came.outcome), "why": came.map(|came| &came.why),
    })
}

struct Resolving<'r> {
    config: &'r Config,
    policy: &'r Policy,
    args: &'r ParkedResolve,
    outcome: Outcome,
}

/// What was done so far.
#[derive(Default)]
struct Done {
    resolved: usize,
    /// Things that can't be retried, and why.
    left: BTreeMap<i64, String>,
}

impl Resolving<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        let shutdown = Shutdown::new();
        roles::listen_for_signals(shutdown.clone())?;
        let database = Database::connect(self.config.database()?, "lockstep-parked").await?;
        let mut done = Done::default();
        let pause = Duration::from_secs_f64(1.0 / f64::from(self.args.rate.get()));
        while !shutdown.is_cancelled() {
            let taken = self.step(&database, &mut done).await?;
            if taken == 0 || self.args.dry_run {
                break;
            }
            shutdown.run_until_cancelled(tokio::time::sleep(pause * taken as u32)).await;
        }
        self.report(&done);
        if shutdown.is_cancelled() {
            let stopped = Failure::new(FailureKind::NotYet, "stopped before all that was meant had been looked at");
            return Err(stopped.remedy("the same command goes on").into());
        }
        Ok(())
    }

    /// One transaction of things; how many it took.
    async fn step(&self, database: &Database, done: &mut Done) -> Result<usize, Failure> {
        let turn = Turn::take(database, TURN).await.map_err(away)?;
        let mut turn = turn.ok_or_else(|| {
            Failure::new(FailureKind::NotYet, "somebody else resolves parked things")
                .remedy("wait until that has ended")
        })?;
        let before = turn.began_at().await.map_err(away)?;
        self.ingest_has_come_to(position_before(database, before).await?).await?;
        let things = things(self.config).await?;
        let meant: Vec<(i64, Word)> = things
            .all()
            .filter(|(id, word, came)| {
                came.is_none() && is_meant(&self.args.choice, *id, word) && !done.left.contains_key(id)
            })
            .map(|(id, word, _)| (id, word.clone()))
            .take(if self.args.dry_run { usize::MAX } else { STEP_MAX.min(self.args.rate.get() as usize) })
            .collect();
        if self.args.dry_run {
            let mut selection = self.selection(&meant).await?;
            done.left.append(&mut selection.left);
            selection.taken.keys().for_each(|id| self.tell(&things, *id));
            done.resolved += selection.taken.len();
            return Ok(0);
        }
        let mut selection = self.selection(&meant).await?;
        done.left.append(&mut selection.left);
        let ids: Vec<i64> = selection.taken.keys().copied().collect();
        if !ids.is_empty() {
            let mut signals = selection.signals();
            let why = self.args.reason.clone();
            signals.push(Signal::Resolve { parked: ids.clone(), outcome: self.outcome, why });
            turn.send(&signals).await.map_err(away)?;
        }
        done.resolved += ids.len();
        Ok(meant.len())
    }

    fn tell(&self, things: &Things, id: i64) {
        if let (OutputFormat::Text, Some((_, word, _))) =
            (self.args.output.output, things.all().find(|one| one.0 == id))
        {
            output::line(&format!("{id:>8}  {:<16}  {}", word.reason, what(self.policy, word)));
        }
    }

    /// What is to be dropped for each; a drop needs nothing but the word.
    async fn selection(&self, meant: &[(i64, Word)]) -> Result<Selection, Failure> {
        if self.outcome == Outcome::Dropped {
            return Ok(Selection { taken: meant.iter().map(|(id, _)| (*id, None)).collect(), ..Selection::default() });
        }
        let spots: BTreeSet<(String, i32, i64)> = meant
            .iter()
            .filter_map(|(_, word)| word.record.as_ref())
            .map(|spot| (spot.topic.clone(), spot.partition, spot.offset))
            .collect();
        let mut read = HashMap::new();
        let mut records = Records::open(self.config.kafka()?, "parked", &Ranges::new())?;
        for (topic, partition, offset) in spots {
            let spot = Spot { topic, partition, offset };
            read.insert(spot.clone(), self.read_again(&mut records, &spot).await?);
        }
        let mut selection = Selection::default();
        for (id, word) in meant {
            match select::subject(word, |spot| read.get(spot).cloned()) {
                Ok(subject) => drop(selection.taken.insert(*id, Some(subject))),
                Err(why) => drop(selection.left.insert(*id, why)),
            }
        }
        Ok(selection)
    }

    /// Whose row a record is that could not be read before.
    async fn read_again(
        &self,
        records: &mut Records,
        spot: &Spot,
    ) -> Result<Result<(String, Subject), String>, Failure> {
        let kafka = self.config.kafka()?;
        let mut groups = self.policy.groups.values();
        let Some(group) = groups.find(|group| topics::of_group(kafka, &group.name) == spot.topic) else {
            return Ok(Err(format!("{} is no group's topic", spot.topic)));
        };
        let partition = (spot.topic.clone(), spot.partition);
        let known = ends(kafka, "parked", vec![partition.clone()]).await?;
        let (oldest, end) = known[&partition];
        if !(oldest..end).contains(&spot.offset) {
            return Ok(Err("the record is gone from the log; drop it".to_owned()));
        }
        let ranges = Ranges::from([(partition, (spot.offset, spot.offset + 1))]);
        records.turn_to(&ranges)?;
        let found = records.next().await?;
        Ok(match found.map(|found| found.event) {
            Some(Ok(Event::Change(change))) => match change.row().and_then(|row| group.entity(row)) {
                Some(entity) => Ok((group.name.to_string(), Subject::entity(entity))),
                None => Err("the record does not tell whose row it is; drop it".to_owned()),
            },
            Some(Ok(_)) => Err("the record is not of a row; drop it".to_owned()),
            Some(Err(why)) => Err(format!("the record still can't be read: {why}")),
            None => Err("the record is gone from the log; drop it".to_owned()),
        })
    }

    /// All that was sent before is in Kafka, and what came of parked things with it.
    async fn ingest_has_come_to(&self, wanted: Position) -> Result<(), Failure> {
        let kafka = self.config.kafka()?;
        let follow = async {
            let mut tail = Tail::open(kafka, "parked", topics::PROGRESS, Begin::Newest).await?;
            loop {
                let message = tail.next().await?;
                let progress = Progress::from_json(message.payload().unwrap_or_default());
                if progress.is_ok_and(|progress| progress.position >= wanted) {
                    return Ok(());
                }
            }
        };
        match tokio::time::timeout(INGEST_WAIT_MAX, follow).await {
            Ok(came) => came.map_err(|error| log_away(kafka, error)),
            Err(_) => Err(Failure::new(FailureKind::NotYet, format!("ingest has not come to {wanted}"))
                .remedy("look at `lockstep status`: ingest writes down what came of parked things")),
        }
    }

    fn report(&self, done: &Done) {
        let dry = self.args.dry_run;
        if self.args.output.output == OutputFormat::Json {
            let told = json!({
                "outcome": self.outcome, "count": done.resolved, "dry_run": dry,
                "left": done.left.iter().map(|(id, why)| json!({"id": id, "why": why})).collect::<Vec<_>>(),
            });
            return output::line(&told.to_string());
        }
        done.left.iter().for_each(|(id, why)| output::line(&format!("{id:>8}  left: {why}")));
        let would = if dry { "would be " } else { "" };
        output::line(&format!("{} {would}{}, {} left", done.resolved, self.outcome.as_str(), done.left.len()));
    }
}
