//! `lockstep rebuild VIEW`: makes a view anew beside the entries that readers have, compares the two, and has readers switch.
//! Both are kept in step, so that readers can go back, until one of them is given up.
//!
//! Which versions there are stands in the topic of switches, and nowhere else: killed at any moment, the same command goes on.

mod compare;
mod entities;
mod removal;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::clock::now_micros;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::signal::{SUBJECTS_MAX, Signal};
use lockstep_schemas::switches::{Switch, What};
use lockstep_schemas::topics;
use lockstep_schemas::versions::{Versions, named};
use lockstep_source::loader::Loader;
use lockstep_source::signals::Turn;
use lockstep_source::{Database, signals};
use lockstep_tiers::{Layout, Place};
use lockstep_warmer::warm::{Budget, Warmed, is_warmed_from_the_database, warm};
use serde_json::json;
use tokio::time::Instant;

use super::applied::{away, behind, position_before};
use super::status::{Watermarks, log_away};
use super::switch::{publish, switches, view, who};
use crate::cli::{OutputFormat, RebuildArgs};
use crate::{output, roles};
use compare::Compared;
use entities::Entities;

/// Only one at a time says what becomes of versions.
const TURN: i64 = 0x6c6f_636b_7665_7273;

/// Exit code of a version that is wrong.
const WRONG: u8 = 1;
/// Readers are not switched to a version that lacks more of what they have.
const COVERED_MIN: f64 = 0.95;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &RebuildArgs) -> anyhow::Result<ExitCode> {
    let view = view(policy, &args.view)?;
    is_warmed_from_the_database(view)?;
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let versions = versions_of(config, view).await?;
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    let database = Database::connect(config.database()?, "lockstep-rebuild").await?;
    let loader = Loader::prepare(&database, policy).await?;
    let watermarks = Watermarks::connect(config, policy).await?;
    let rebuild = Rebuild { config, policy, args, view, database, loader, watermarks, shutdown };
    if args.back {
        rebuild.back(versions).await?;
    } else if args.finish {
        rebuild.finish(versions).await?;
    } else {
        return rebuild.forward(versions).await;
    }
    Ok(ExitCode::SUCCESS)
}

struct Rebuild<'r> {
    config: &'r Config,
    policy: &'r Policy,
    args: &'r RebuildArgs,
    view: &'r Arc<View>,
    database: Database,
    loader: Loader,
    watermarks: Watermarks,
    shutdown: Shutdown,
}

impl Rebuild<'_> {
    async fn forward(&self, versions: Versions) -> anyhow::Result<ExitCode> {
        let versions = self.begun(versions).await?;
        let Some(new) = versions.beside else { return Err(Failure::internal("no version was begun").into()) };
        self.kept_in_step(new).await?;
        let began = Instant::now();
        let warmed = self.fill(new).await?;
        let fill_took = began.elapsed();
        let compared = self.compare(versions.read, new).await?;
        let is_good = compared.wrong == 0 && compared.covered() >= COVERED_MIN;
        let is_switched = is_good && !self.args.no_switch;
        if is_switched {
            self.turn(versions, versions.switched()).await?;
        }
        self.report(new, (&warmed, fill_took), &compared, is_switched);
        if compared.wrong > 0 {
            return Ok(ExitCode::from(WRONG));
        }
        if !is_good {
            let covered = compared.covered() * 100.0;
            let why = format!("version {new} has {covered:.1} % of what readers have; they were left where they are");
            return Err(Failure::new(FailureKind::NotYet, why)
                .remedy("the same command fills what is missing; is the tier full, does it evict?")
                .into());
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A version newer than the one that is read: the one that there is, or another.
    async fn begun(&self, versions: Versions) -> Result<Versions, Failure> {
        if versions.is_ahead() {
            return Ok(versions);
        }
        if let Some(older) = versions.beside {
            let why = format!("version {older} of {} is still kept beside version {}", self.view.name, versions.read);
            let name = &self.view.name;
            return Err(Failure::new(FailureKind::Usage, why).remedy(format!(
                "`lockstep rebuild {name} --finish` gives it up, `lockstep rebuild {name} --back` goes back to it"
            )));
        }
        let begun = versions.begun();
        self.turn(versions, begun).await?;
        Ok(begun)
    }

    async fn back(&self, versions: Versions) -> Result<(), Failure> {
        let (Some(older), false) = (versions.beside, versions.is_ahead()) else {
            let why = format!("readers of {} read version {}, and no older one is kept", self.view.name, versions.read);
            return Err(Failure::new(FailureKind::Usage, why).remedy("see `lockstep status` for what is kept"));
        };
        self.turn(versions, versions.switched()).await?;
        self.tell(json!({"view": *self.view.name, "read": older, "kept": versions.read}), || {
            vec![format!(
                "{}: readers read version {older} again; version {} is kept beside it",
                self.view.name, versions.read
            )]
        });
        Ok(())
    }

    async fn finish(&self, versions: Versions) -> Result<(), Failure> {
        let Some(other) = versions.beside else {
            let why = format!("no other version of {} is kept than {}", self.view.name, versions.read);
            return Err(Failure::new(FailureKind::Usage, why).remedy("there is nothing to give up"));
        };
        let bar = self.bar(&format!("removing version {other}"));
        let removed = removal::remove_for_good(&self.entities(&bar), &self.view.at(other), &self.shutdown).await?;
        self.unless_stopped("removing entries")?;
        // It is given up only now: whatever is left of it was kept in step until here, and nobody reads it.
        self.turn(versions, versions.finished()).await?;
        let removed = removed + removal::remove(&self.entities(&bar), &self.view.at(other), &self.shutdown).await?;
        bar.finish_and_clear();
        self.tell(
            json!({"view": *self.view.name, "read": versions.read, "given_up": other, "removed": removed}),
            || vec![format!("{}: version {other} is given up, {removed} entries removed", self.view.name)],
        );
        Ok(())
    }

    /// Waits until each lane of the group has come to a mark in its log at which it knows of the version: from there on it
    /// keeps the version's entries in step, and so does whoever takes the lane over.
    async fn kept_in_step(&self, new: u32) -> Result<(), Failure> {
        let group = &self.view.group;
        let layout = Layout::new(self.policy, &self.config.namespace, self.config.partitions);
        let subjects: Vec<Subject> = one_of_each(&layout, group).iter().map(|name| Subject::entity(name)).collect();
        let views = BTreeSet::from([named(&self.view.name, new)]);
        let mark = |subjects: &[Subject]| Signal::Invalidate {
            group: group.to_string(),
            subjects: subjects.to_vec(),
            views: views.clone(),
        };
        let marks: Vec<Signal> = subjects.chunks(SUBJECTS_MAX).map(mark).collect();
        let lsn = signals::send_all(&self.database, &marks).await.map_err(away)?;
        let wanted = position_before(&self.database, lsn).await?;
        let places = (0..self.config.partitions).map(|partition| Place { group: group.clone(), partition }).collect();
        let deadline = Instant::now() + self.args.timeout;
        let late = behind(&self.watermarks, self.view.tier, places, wanted, deadline).await?;
        let Some(place) = late.first() else { return Ok(()) };
        let why = format!("the lane {}.{} does not keep version {new} in step yet", place.group, place.partition);
        Err(Failure::new(FailureKind::NotYet, why)
            .remedy("see `lockstep status`: is its engine at work, and of this version? The same command goes on"))
    }

    async fn fill(&self, new: u32) -> Result<Warmed, Failure> {
        let bar = self.bar(&format!("filling version {new}"));
        let told = |warmed: Warmed| {
            bar.set_length(warmed.of.max(warmed.looked));
            bar.set_position(warmed.looked);
        };
        let (budget, view) = (Budget { rate: self.args.rate }, self.view.at(new));
        let warmed = warm(self.config, self.policy, &view, budget, &self.shutdown, told).await?;
        bar.finish_and_clear();
        self.unless_stopped("filling")?;
        Ok(warmed)
    }

    async fn compare(&self, old: u32, new: u32) -> Result<Compared, Failure> {
        let bar = self.bar(&format!("comparing version {new}"));
        let compared =
            compare::compare(&self.entities(&bar), &self.view.at(old), &self.view.at(new), &self.shutdown).await?;
        bar.finish_and_clear();
        self.unless_stopped("comparing")?;
        Ok(compared)
    }

    fn entities<'e>(&'e self, bar: &'e ProgressBar) -> Entities<'e> {
        Entities { loader: &self.loader, tier: self.watermarks.of(self.view.tier), bar, rate: self.args.rate }
    }

    fn unless_stopped(&self, what: &str) -> Result<(), Failure> {
        if !self.shutdown.is_cancelled() {
            return Ok(());
        }
        let stopped = Failure::new(FailureKind::NotYet, format!("{what} was stopped"));
        Err(stopped.remedy("the same command goes on; readers are where they were"))
    }

    /// Says what becomes of the versions, where they are still those that were looked at: somebody else may have gone on
    /// from there meanwhile.
    async fn turn(&self, from: Versions, versions: Versions) -> Result<(), Failure> {
        let name = &self.view.name;
        let turn = Turn::take(&self.database, TURN).await.map_err(away)?.ok_or_else(|| {
            Failure::new(FailureKind::NotYet, "somebody else says at this moment what becomes of a view's versions")
                .remedy("the same command goes on")
        })?;
        let now = versions_of(self.config, self.view).await?;
        if now != from {
            let why = format!("{name} has other versions now than when this began: somebody else rebuilds it");
            return Err(Failure::new(FailureKind::NotYet, why)
                .remedy("see `lockstep status` for what is kept; the same command goes on from there"));
        }
        let what = What::Versions { view: self.view.name.to_string() };
        // Of a view as it was at the very first there is nothing to say any more.
        let on = versions.beside.is_some() || versions.read > 0;
        let (reason, by, at) = (self.args.reason.clone(), who(), now_micros());
        let switch = Switch { what, on, reason, by, at, until: i64::MAX, versions: Some(versions) };
        publish(self.config.kafka()?, &switch).await?;
        turn.send(&[]).await.map_err(away)
    }

    fn bar(&self, what: &str) -> ProgressBar {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len} ({per_sec}, {eta} left)")
        {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar
    }

    fn report(&self, new: u32, (warmed, fill_took): (&Warmed, Duration), compared: &Compared, is_switched: bool) {
        let told = json!({
            "view": *self.view.name, "version": new, "filled": warmed.filled, "were_there": warmed.there,
            "fill_seconds": fill_took.as_secs_f64(),
            "same": compared.same, "only_new": compared.only_new, "only_old": compared.only_old,
            "old_wrong": compared.old_wrong, "new_wrong": compared.wrong, "switched": is_switched,
        });
        self.tell(told, || {
            let name = &self.view.name;
            let mut lines = vec![
                format!("{name}: version {new}: {} entries filled, {} were there", warmed.filled, warmed.there),
                format!(
                    "{} are the same in both, {} are new, {} are missing; {} were wrong before, {} are wrong now",
                    compared.same, compared.only_new, compared.only_old, compared.old_wrong, compared.wrong
                ),
            ];
            lines.extend(compared.examples.iter().map(|key| format!("differs from its row: {key}")));
            lines.push(match is_switched {
                true => format!(
                    "readers read version {new}; `lockstep rebuild {name} --back` goes back, `--finish` gives the other one up"
                ),
                false => "readers were left where they are".to_owned(),
            });
            lines
        });
    }

    fn tell(&self, told: serde_json::Value, lines: impl FnOnce() -> Vec<String>) {
        match self.args.output.output {
            OutputFormat::Json => output::line(&told.to_string()),
            OutputFormat::Text => lines().iter().for_each(|line| output::line(line)),
        }
    }
}

/// The versions that there are.
async fn versions_of(config: &Config, view: &View) -> Result<Versions, Failure> {
    let kafka = config.kafka()?;
    let known = switches(kafka).await.map_err(|error| log_away(kafka, error))?;
    Ok(known.versions().get(&*view.name).copied().unwrap_or_default())
}

/// Names of nobody, one of each partition.
fn one_of_each(layout: &Layout, group: &Arc<str>) -> Vec<String> {
    let mut names = vec![None; layout.partitions() as usize];
    let mut missing = names.len();
    for n in 0_u64.. {
        if missing == 0 {
            break;
        }
        let name = format!("~{n}");
        let slot = &mut names[layout.place(group, &name).partition as usize];
        if slot.is_none() {
            (*slot, missing) = (Some(name), missing - 1);
        }
    }
    names.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_schemas::policy::DEFAULT;

    #[test]
    fn each_partition_has_a_name() {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let (layout, group) = (Layout::new(&policy, "", 128), Arc::from("catalogue"));
        let names = one_of_each(&layout, &group);
        let partitions: BTreeSet<u32> = names.iter().map(|name| layout.place(&group, name).partition).collect();
        assert_eq!((names.len(), partitions.len()), (128, 128));
    }
}
