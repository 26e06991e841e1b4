//! `lockstep replay`: drops, once more, what a range of the log has changed, so that readers fill it anew.
//!
//! The range is read beside everything else and folded to its entities. What is dropped goes through the log again, so
//! that each partition's lane does it in order, and nothing old can ever be shown by it.

mod fold;
mod notes;
mod range;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_coherence::Planner;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::topics;
use lockstep_source::{Database, signals};
use lockstep_tiers::{Layout, Place};
use serde_json::json;
use tokio::time::Instant;

use super::applied::{away, behind, position_before};
use super::records::Records;
use super::status::Watermarks;
use crate::cli::{OutputFormat, ReplayArgs};
use crate::{output, roles};
use fold::{Choice, Fold};
use notes::Notes;

/// Entities are folded before they are sent: so many, or as many as are sent in so many seconds. Who goes on by his notes
/// begins with these again.
const ENTITIES_MAX: usize = 20_000;
const FOLDED_SECONDS: usize = 5;
/// Entities of one transaction.
const STEP_MAX: usize = 200;
/// Records between two looks at what the operator wants, and at the bar.
const ROUND: u64 = 500;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &ReplayArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let layout = Layout::new(policy, &config.namespace, config.partitions);
    let choice = Choice::of(policy, args)?;
    let mut notes = Notes::open(args.notes.as_deref(), &args.fingerprint())?;
    let ranges = match notes.ranges() {
        Some(ranges) => ranges,
        None => range::of(config, args, &choice, &layout).await?,
    };
    notes.begin(&ranges)?;
    let total: i64 = ranges.values().map(|(from, to)| (to - from).max(0)).sum();
    let database = match args.dry_run {
        true => None,
        false => Some(Database::connect(config.database()?, "lockstep-replay").await?),
    };
    let bar = bar(total);
    let mut replay = Replay {
        args,
        database,
        fold: Fold::new(Planner::new(policy), choice),
        bar: bar.clone(),
        sent: 0,
        newest: None,
        shutdown: shutdown.clone(),
    };
    let entities_max = (args.rate.get() as usize).saturating_mul(FOLDED_SECONDS).clamp(STEP_MAX, ENTITIES_MAX);
    let mut records = Records::open(config.kafka()?, "replay", &ranges)?;
    let mut looked = 0;
    while let Some(found) = records.next().await? {
        notes.passed(&found.partition, found.offset);
        replay.fold.take(found);
        looked += 1;
        if looked % ROUND == 0 {
            bar.set_position(looked);
            if shutdown.is_cancelled() {
                break;
            }
        }
        if replay.fold.entities() >= entities_max {
            replay.send().await?;
            // Not of what was left unsent: it is read again.
            if !shutdown.is_cancelled() {
                notes.save()?;
            }
        }
    }
    replay.send().await?;
    bar.finish_and_clear();
    let was_stopped = shutdown.is_cancelled();
    if !was_stopped {
        notes.save()?;
        notes.end()?;
        if let Some(newest) = replay.newest.filter(|_| !args.no_wait) {
            wait(config, policy, &replay, newest, args.timeout).await?;
        }
    }
    report(&replay, looked, total, args);
    if was_stopped {
        let remedy = match &args.notes {
            Some(notes) => format!("the same command with --notes {} goes on", notes.display()),
            None => "begin again: twice is as good as once (with --notes FILE it goes on where it was)".to_owned(),
        };
        let why = format!("stopped after {looked} of {total} records");
        return Err(Failure::new(FailureKind::NotYet, why).remedy(remedy).into());
    }
    Ok(())
}

struct Replay<'r> {
    args: &'r ReplayArgs,
    /// `None`: nothing is sent.
    database: Option<Database>,
    fold: Fold,
    bar: ProgressBar,
    sent: u64,
    /// Past everything that was sent.
    newest: Option<Lsn>,
    shutdown: Shutdown,
}

impl Replay<'_> {
    /// Sends what was folded, so many entities a second, until the operator stops it.
    async fn send(&mut self) -> Result<(), Failure> {
        let steps = self.fold.drain(STEP_MAX);
        let Some(database) = &self.database else { return Ok(()) };
        let pause = Duration::from_secs_f64(1.0 / f64::from(self.args.rate.get()));
        for (entities, step) in steps {
            if self.shutdown.is_cancelled() {
                break;
            }
            let due = Instant::now() + pause * entities as u32;
            self.newest = Some(signals::send_all(database, &step).await.map_err(away)?);
            self.sent += entities as u64;
            self.bar.set_message(format!("{} entities", self.sent));
            self.shutdown.run_until_cancelled(tokio::time::sleep_until(due)).await;
        }
        Ok(())
    }
}

/// Until every tier concerned has applied what was sent.
async fn wait(
    config: &Config,
    policy: &Policy,
    replay: &Replay<'_>,
    newest: Lsn,
    timeout: Duration,
) -> Result<(), Failure> {
    let Some(database) = &replay.database else { return Ok(()) };
    let wanted: Position = position_before(database, newest).await?;
    let watermarks = Watermarks::connect(config, policy).await?;
    let deadline = Instant::now() + timeout;
    for tier in TierName::INSIDE_OUT {
        let of_tier = |place: &&Place| policy.tiers_of(&place.group).contains(&tier);
        let places: Vec<Place> = replay.fold.places(config.partitions).iter().filter(of_tier).cloned().collect();
        let late = behind(&watermarks, tier, places, wanted, deadline).await?;
        if let Some(place) = late.first() {
            let what = format!(
                "{} of {}.{} has not applied it within {timeout:?}",
                tier.as_str(),
                place.group,
                place.partition
            );
            return Err(Failure::new(FailureKind::NotYet, what)
                .remedy("it stays in the log, and is done once the lane comes to it; see `lockstep status`"));
        }
    }
    Ok(())
}

fn bar(total: i64) -> ProgressBar {
    let total = u64::try_from(total).unwrap_or(0);
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(total) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("replaying {bar:40} {human_pos}/{human_len} records ({eta} left) {msg}")
    {
        bar.set_style(style);
    }
    bar
}

fn report(replay: &Replay<'_>, looked: u64, total: i64, args: &ReplayArgs) {
    let counts = &replay.fold.counts;
    if args.output.output == OutputFormat::Json {
        let views: BTreeMap<&str, u64> = counts.views.iter().map(|(view, count)| (&**view, *count)).collect();
        let told = json!({
            "dry_run": args.dry_run, "records": looked, "of": total, "entities": counts.entities, "sent": replay.sent,
            "views": views, "whole_partitions": counts.controls, "unknown": counts.unknown, "unreadable": counts.unreadable,
        });
        return output::line(&told.to_string());
    }
    let would = if args.dry_run { "would be " } else { "" };
    for (view, count) in &counts.views {
        output::line(&format!("{view}: {count} entries {would}dropped"));
    }
    for (count, what) in [
        (counts.controls, "events of whole partitions passed over: their floors stand in the tiers"),
        (
            counts.unknown,
            "changes of which the log does not tell whose they are passed over: their floors stand in the tiers",
        ),
        (counts.unreadable, "records that can't be read passed over: see `lockstep parked ls`"),
    ] {
        if count > 0 {
            output::line(&format!("{count} {what}"));
        }
    }
    output::line(&format!("{looked} records, {} entities", counts.entities));
}
