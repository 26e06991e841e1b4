//! `lockstep purge`: drops what was made of an entity from every tier, inside out, and proves it.
//!
//! The wish goes through the log, so that the lane of the partition, which alone writes to the tiers, does it in order: L2,
//! then L1, then the edge in rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::position::Position;
use lockstep_schemas::signal::{SUBJECT_BYTES_MAX, SUBJECTS_MAX, Signal};
use lockstep_schemas::topics;
use lockstep_source::{Database, signals};
use lockstep_tiers::{Edge, Layout, edge};
use serde_json::json;
use tokio::time::Instant;

use super::applied::{away, behind, position_before};
use super::status::Watermarks;
use crate::cli::{OutputFormat, PurgeArgs};
use crate::output;

const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Whose entries go, by group.
pub(crate) type Subjects = BTreeMap<Arc<str>, BTreeSet<Subject>>;

/// A tier that has nothing left of what was purged.
pub(crate) struct Proof {
    pub tier: TierName,
    pub how: String,
}

pub(crate) async fn run(config: &Config, policy: &Policy, args: &PurgeArgs) -> anyhow::Result<()> {
    let deadline = Instant::now() + args.timeout;
    let subjects = subjects(policy, args)?;
    let database = Database::connect(config.database()?, "lockstep-purge").await?;
    let asked = subjects.iter().map(|(group, subjects)| Signal::Invalidate {
        group: group.to_string(),
        subjects: subjects.iter().cloned().collect(),
        views: BTreeSet::new(),
    });
    let lsn = signals::send_all(&database, &asked.collect::<Vec<_>>()).await.map_err(away)?;
    if !args.wait {
        match args.output.output {
            OutputFormat::Json => output::line(&json!({"asked": true, "lsn": lsn.to_string()}).to_string()),
            OutputFormat::Text => output::line(&format!("asked for it before {lsn}")),
        }
        return Ok(());
    }
    let wanted = position_before(&database, lsn).await?;
    let proofs = Purge { config, policy, subjects, wanted, deadline, timeout: args.timeout }.prove().await?;
    match args.output.output {
        OutputFormat::Json => {
            let tiers: BTreeMap<&str, &str> =
                proofs.iter().map(|proof| (proof.tier.as_str(), proof.how.as_str())).collect();
            output::line(&json!({"asked": true, "lsn": lsn.to_string(), "purged": tiers}).to_string());
        }
        OutputFormat::Text => {
            proofs.iter().for_each(|proof| output::line(&format!("{}: {}", proof.tier.as_str(), proof.how)));
        }
    }
    Ok(())
}

/// Waits until nothing is left of these in any tier that was made before a position.
pub(super) async fn proven(
    config: &Config,
    policy: &Policy,
    subjects: Subjects,
    wanted: Position,
    timeout: Duration,
) -> Result<Vec<Proof>, Failure> {
    let deadline = Instant::now() + timeout;
    Purge { config, policy, subjects, wanted, deadline, timeout }.prove().await
}

/// What keys and tags are of.
fn subjects(policy: &Policy, args: &PurgeArgs) -> Result<Subjects, Failure> {
    let usage = |why: String| Failure::new(FailureKind::Usage, why);
    let mut subjects = Subjects::new();
    let mut add = |view: &View, subject: Subject| {
        subjects.entry(view.group.clone()).or_default().insert(subject);
    };
    for key in &args.key {
        let found = policy.views.values().find_map(|view| Some((view, view.key.subject_of(key)?)));
        let (view, subject) = found.ok_or_else(|| {
            let patterns: Vec<&str> = policy.views.values().map(|view| view.key.text()).collect();
            usage(format!("`{key}` is a key of no view")).remedy(format!("write one of {}", patterns.join(", ")))
        })?;
        add(view, subject);
    }
    for tag in &args.tag {
        let tagged = policy.views.values().filter_map(|view| Some((view, view.tag.as_ref()?)));
        let found = tagged.clone().find_map(|(view, pattern)| Some((view, pattern.subject_of(tag)?)));
        let (view, subject) = found.ok_or_else(|| {
            let patterns: Vec<&str> = tagged.map(|(_, pattern)| pattern.text()).collect();
            usage(format!("`{tag}` is a tag of no view")).remedy(format!("write one of {}", patterns.join(", ")))
        })?;
        add(view, subject);
    }
    for subjects in subjects.values() {
        if subjects.len() > SUBJECTS_MAX || subjects.iter().any(|subject| subject.bytes() > SUBJECT_BYTES_MAX) {
            return Err(usage(format!("more than {SUBJECTS_MAX} entities, or a key over {SUBJECT_BYTES_MAX} bytes"))
                .remedy("purge them in turns; `lockstep replay` takes a range of the log"));
        }
    }
    Ok(subjects)
}

struct Purge<'p> {
    config: &'p Config,
    policy: &'p Policy,
    subjects: Subjects,
    wanted: Position,
    deadline: Instant,
    timeout: Duration,
}

impl Purge<'_> {
    /// Waits for each tier, from the inside out.
    async fn prove(&self) -> Result<Vec<Proof>, Failure> {
        // By another count, another partition would be looked at, and prove nothing.
        topics::insist_on_partitions(self.config.kafka()?, self.policy, self.config.partitions).await?;
        let layout = Layout::new(self.policy, &self.config.namespace, self.config.partitions);
        let watermarks = Watermarks::connect(self.config, self.policy).await?;
        let mut proofs = Vec::new();
        for tier in TierName::INSIDE_OUT {
            let reached = |group: &Arc<str>| self.policy.tiers_of(group).contains(&tier);
            let places: BTreeSet<_> = self
                .subjects
                .iter()
                .filter(|(group, _)| reached(group))
                .flat_map(|(group, subjects)| subjects.iter().map(|one| layout.place(group, &one.entity)))
                .collect();
            if places.is_empty() {
                continue;
            }
            let late = behind(&watermarks, tier, places.into_iter().collect(), self.wanted, self.deadline).await?;
            if let Some(place) = late.first() {
                let why = format!("partition {} of {} has not come to it", place.partition, place.group);
                return Err(self.not_yet(tier, &why));
            }
            let how = match tier {
                TierName::L3 => self.look().await?,
                _ => format!("applied up to {}", self.wanted),
            };
            proofs.push(Proof { tier, how });
        }
        Ok(proofs)
    }

    /// Asks the edge for every page that was purged, as a reader would.
    async fn look(&self) -> Result<String, Failure> {
        let edge = Edge::new(self.config.edge()?)?;
        let mut looked = 0;
        for (group, subjects) in &self.subjects {
            let pages = self.policy.views_of(group).filter(|view| view.tier == TierName::L3 && view.key.is_plain());
            for (page, subject) in pages.flat_map(|page| subjects.iter().map(move |subject| (page, subject))) {
                self.look_at(&edge, &edge::path(page, &subject.entity)).await?;
                looked += 1;
            }
        }
        Ok(format!("purged up to {}, and {looked} pages asked for since are no older", self.wanted))
    }

    async fn look_at(&self, edge: &Edge, path: &str) -> Result<(), Failure> {
        loop {
            let seen = edge.look(path).await;
            let why = match &seen {
                Ok(seen) if seen.position.is_some_and(|position| position >= self.wanted) => return Ok(()),
                // Whoever asked the database itself is past every tier.
                Ok(seen) if seen.position.is_none() && seen.is_of_the_database => return Ok(()),
                Ok(seen) if seen.position.is_none() => "an answer of it does not say how old it is".to_owned(),
                Ok(_) => "an answer of it is older than the purge".to_owned(),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= self.deadline {
                return Err(self.not_yet(TierName::L3, &why));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn not_yet(&self, tier: TierName, why: &str) -> Failure {
        let what = format!("{} was not proven to be purged within {:?}: {why}", tier.as_str(), self.timeout);
        Failure::new(FailureKind::NotYet, what)
            .remedy("the purge stays in the log, and is done once its lane comes to it; see `lockstep status`")
    }
}
