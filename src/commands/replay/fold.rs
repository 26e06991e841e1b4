//! Records, folded to the entities that they concern: each once, with the views that it concerns. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_coherence::{NoEntity, Planner, Views, invalidations, subjects};
use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use lockstep_process::suggest;
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::partition::partition_of;
use lockstep_schemas::policy::{Group, Policy, View};
use lockstep_schemas::position::Position;
use lockstep_schemas::record::Event;
use lockstep_schemas::signal::Signal;
use lockstep_tiers::Place;

use crate::cli::ReplayArgs;
use crate::commands::records::Found;

/// What is replayed of a range.
pub(super) struct Choice {
    /// Groups that the views are of.
    pub groups: BTreeMap<Arc<str>, Group>,
    /// The views that are dropped.
    pub views: BTreeMap<Arc<str>, Arc<View>>,
    /// Only these entities; all where it is empty.
    pub entities: BTreeSet<(Arc<str>, String)>,
    /// Only changes from here.
    pub from: Option<Position>,
    /// Only changes before here.
    pub to: Option<Position>,
}

impl Choice {
    pub fn of(policy: &Policy, args: &ReplayArgs) -> Result<Self, Failure> {
        for view in &args.view {
            policy.view(view).map_err(|nearest| unknown("view", view, nearest))?;
        }
        for group in &args.group {
            if !policy.groups.contains_key(&**group) {
                let known = policy.groups.keys().map(|group| &**group);
                return Err(unknown("group", group, suggest::nearest(group, known)));
            }
        }
        let mut entities = BTreeSet::new();
        for key in &args.key {
            let found = policy.views.values().find_map(|view| Some((&view.group, view.key.subject_of(key)?)));
            let (group, subject) = found.ok_or_else(|| unknown("view with a key like", key, None))?;
            entities.insert((group.clone(), subject.entity));
        }
        let is_meant = |view: &&Arc<View>| {
            (args.view.is_empty() || args.view.iter().any(|name| **name == *view.name))
                && (args.group.is_empty() || args.group.iter().any(|name| **name == *view.group))
                && (args.tier.is_empty() || args.tier.iter().any(|tier| tier == view.tier.as_str()))
                && (entities.is_empty() || entities.iter().any(|(group, _)| *group == view.group))
        };
        let views: BTreeMap<_, _> =
            policy.views.values().filter(is_meant).map(|view| (view.name.clone(), view.clone())).collect();
        if views.is_empty() {
            return Err(Failure::new(FailureKind::Usage, "no view is of all that was named")
                .remedy("name fewer of --view, --group, --tier and --key"));
        }
        let of_views = |group: &&Group| views.values().any(|view| view.group == group.name);
        let groups = policy.groups.values().filter(of_views).map(|group| (group.name.clone(), group.clone())).collect();
        let position = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        Ok(Choice { groups, views, entities, from: position(&args.from), to: position(&args.to) })
    }

    /// Partitions in which changes of it may lie, of so many.
    pub fn places(&self, args: &ReplayArgs, partitions: u32) -> Vec<Place> {
        let may_be = |place: &Place| {
            let mut entities = self.entities.iter().filter(|(group, _)| *group == place.group);
            let fits = self.entities.is_empty()
                || entities.any(|(_, entity)| partition_of(entity, partitions) == place.partition);
            fits && (args.partition.is_empty() || args.partition.contains(&place.partition))
        };
        let of = |group: &Arc<str>| {
            (0..partitions).map(|partition| Place { group: group.clone(), partition }).collect::<Vec<_>>()
        };
        self.groups.keys().flat_map(of).filter(may_be).collect()
    }

    fn is_within(&self, position: Position) -> bool {
        self.from.is_none_or(|from| position >= from) && self.to.is_none_or(|to| position < to)
    }
}

fn unknown(what: &str, name: &str, nearest: Option<&str>) -> Failure {
    let failure = Failure::new(FailureKind::Usage, format!("there is no {what} `{name}`"));
    match nearest {
        Some(nearest) => failure.remedy(format!("did you mean `{nearest}`?")),
        None => failure.remedy("see the policy"),
    }
}

/// What was found.
#[derive(Default)]
pub(super) struct Counts {
    /// Entities, each counted once a window.
    pub entities: u64,
    /// Entries of each view.
    pub views: BTreeMap<Arc<str>, u64>,
    /// Events that concerned whole partitions.
    pub controls: u64,
    /// Changes of which the log does not tell whose they are.
    pub unknown: u64,
    /// Records that can't be read.
    pub unreadable: u64,
}

/// What waits to be sent.
pub(super) struct Fold {
    planner: Planner,
    choice: Choice,
    waiting: BTreeMap<(Arc<str>, Subject), Views>,
    places: BTreeSet<(Arc<str>, i32)>,
    pub counts: Counts,
}

impl Fold {
    pub fn new(planner: Planner, choice: Choice) -> Self {
        Fold { planner, choice, waiting: BTreeMap::new(), places: BTreeSet::new(), counts: Counts::default() }
    }

    /// Entities that wait.
    pub fn entities(&self) -> usize {
        self.waiting.len()
    }

    /// Partitions of which something was sent.
    pub fn places(&self, partitions: u32) -> Vec<Place> {
        let place = |(group, partition): &(Arc<str>, i32)| {
            let partition = u32::try_from(*partition).ok().filter(|partition| *partition < partitions)?;
            Some(Place { group: group.clone(), partition })
        };
        self.places.iter().filter_map(place).collect()
    }

    /// Takes a record in.
    pub fn take(&mut self, found: Found) {
        let change = match found.event {
            Ok(Event::Change(change)) if self.choice.is_within(change.position) => change,
            Ok(Event::Control(control)) if self.choice.is_within(control.position) => {
                self.counts.controls += 1;
                return;
            }
            Err(_) => {
                self.counts.unreadable += 1;
                return;
            }
            Ok(_) => return,
        };
        let Some(group) = self.choice.groups.values().find(|group| group.tables.contains(&change.table)) else {
            return;
        };
        let group = group.clone();
        let verdicts = match self.planner.verdicts(&change) {
            Ok(verdicts) => verdicts,
            Err(NoEntity) => {
                self.counts.unknown += 1;
                return;
            }
        };
        let views: Views = verdicts
            .into_iter()
            .filter(|verdict| verdict.concerns() && self.choice.views.contains_key(&verdict.view))
            .map(|verdict| verdict.view)
            .collect();
        for subject in subjects(&change, &group, views.iter().map(|view| &*self.choice.views[view])) {
            let entity = (group.name.clone(), subject.entity.clone());
            if !views.is_empty() && (self.choice.entities.is_empty() || self.choice.entities.contains(&entity)) {
                self.places.insert((group.name.clone(), found.partition.1));
                self.waiting.entry((group.name.clone(), subject)).or_default().extend(views.iter().cloned());
            }
        }
    }

    /// Takes what waits out, in steps of so many entities.
    pub fn drain(&mut self, step_max: usize) -> Vec<(usize, Vec<Signal>)> {
        let waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        for ((_, _), views) in &waiting {
            self.counts.entities += 1;
            views.iter().for_each(|view| *self.counts.views.entry(view.clone()).or_default() += 1);
        }
        let told = |step: &[((Arc<str>, Subject), Views)]| {
            invalidations(step.iter().map(|((group, subject), views)| (group, subject, views)))
        };
        waiting.chunks(step_max).map(|step| (step.len(), told(step))).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use lockstep_schemas::change::{Cell, Change, Op, Row};
    use lockstep_schemas::control::{Control, ControlKind};
    use lockstep_schemas::policy::DEFAULT;
    use lockstep_schemas::position::Lsn;

    use super::*;
    use crate::cli::{Cli, Command};

    fn position(lsn: u64) -> Position {
        Position { epoch: 1, lsn: Lsn(lsn), ordinal: 1 }
    }

    fn update(lsn: u64, table: &str, product: &str) -> Event {
        let columns = ["product_id", "price_pence", "currency", "stock"].map(Arc::from).into();
        let cells = [product, "5", "GBP", "3"].map(|text| Cell::Value(text.into())).into();
        let after = Some(Row::new(columns, cells));
        let (table, op) = (table.into(), Op::Update);
        let position = position(lsn);
        Event::Change(Box::new(Change {
            position,
            xid: 7,
            committed_at: 0,
            table,
            op,
            before: None,
            after,
            incomplete: false,
        }))
    }

    /// Entities with the views that are dropped, of a replay with these options.
    fn check(options: &str, expected: &[(&str, &[&str])]) {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let words = ["lockstep", "replay"].into_iter().chain(options.split_whitespace());
        let Command::Replay(args) = Cli::try_parse_from(words).expect("options").command else { panic!("a replay") };
        let choice = Choice::of(&policy, &args).unwrap_or_else(|why| panic!("{why}"));
        let mut fold = Fold::new(Planner::new(&policy), choice);
        let control = Control { kind: ControlKind::Truncate, position: position(25), xid: 7, table: None };
        for (offset, event) in (0..).zip([
            Ok(update(10, "public.prices", "a")),
            Ok(update(20, "public.inventory", "a")),
            Ok(Event::Control(control)),
            Ok(update(30, "public.prices", "b")),
            Ok(update(40, "public.order_lines", "c")),
            Err("not a record".to_owned()),
        ]) {
            fold.take(Found { partition: ("lockstep.catalogue".to_owned(), 0), offset, event });
        }
        let mut told: Vec<(String, Vec<String>)> = Vec::new();
        for (_, signals) in fold.drain(1) {
            for signal in signals {
                let Signal::Invalidate { group, subjects, views } = signal else { panic!("{signal:?}") };
                assert_eq!(group, "catalogue");
                told.extend(subjects.into_iter().map(|one| (one.entity, views.iter().cloned().collect())));
            }
        }
        let expected: Vec<(String, Vec<String>)> = expected
            .iter()
            .map(|(entity, views)| (entity.to_string(), views.iter().map(|view| view.to_string()).collect()))
            .collect();
        assert_eq!(told, expected, "{options}");
        assert_eq!(fold.counts.unreadable, 1);
    }

    #[test]
    fn an_entity_is_dropped_once_with_what_is_made_of_it() {
        let all: &[&str] = &["product_all", "product_hot", "product_page"];
        check("", &[("a", all), ("b", all)]);
        check(
            "--group catalogue --tier l2 --tier l3",
            &[("a", &["product_all", "product_page"]), ("b", &["product_all", "product_page"])],
        );
        check("--view product_hot --key product:all:b", &[("b", &["product_hot"])]);
        let from = position(20);
        check(&format!("--from {from} --view product_all"), &[("a", &["product_all"]), ("b", &["product_all"])]);
        let to = position(30);
        check(&format!("--from {from} --to {to} --view product_all"), &[("a", &["product_all"])]);
        check("--group customers", &[]);
    }
}
