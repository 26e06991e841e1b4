//! What waits for a pass: whose change it was, and which views its pass drops. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_schemas::change::{Cell, Change, Row};
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::policy::{Group, View};
use lockstep_schemas::signal::Signal;

use super::{NoEntity, Planner, Why};

/// Names of views.
pub type Views = BTreeSet<Arc<str>>;

/// What a change leaves to a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// The group.
    pub group: Arc<str>,
    /// Whose entries.
    pub subjects: BTreeSet<Subject>,
    /// Those of these views: of the one that waits, and of each other that shows one of the deferred columns, for it may
    /// have been filled, or its page made, from what waits (docs/protocol.md, [17b]).
    pub views: Views,
    /// For so long they may wait.
    pub wait: Duration,
}

impl Planner {
    /// Groups of which some view waits for passes.
    pub fn deferring_groups(&self) -> impl Iterator<Item = &Arc<str>> {
        let defers = |views: &Vec<Arc<View>>| views.iter().any(|view| view.deferred.is_some());
        self.groups.iter().filter(move |(_, views)| defers(views)).map(|(name, _)| name)
    }

    /// What a change leaves to passes; `None`: nothing.
    pub fn postponed(&self, change: &Change) -> Result<Option<Postponed>, NoEntity> {
        let Some(plan) = self.tables.get(&change.table) else { return Ok(None) };
        if plan.views.iter().all(|(_, source)| source.deferred.is_none()) {
            return Ok(None);
        }
        let (mut columns, mut wait) = (BTreeSet::new(), None::<Duration>);
        for (verdict, (_, source)) in self.verdicts(change)?.iter().zip(&plan.views) {
            if let Why::Deferred(of_view) = verdict.why {
                columns.extend(source.deferred());
                wait = Some(wait.map_or(of_view, |wait| wait.min(of_view)));
            }
        }
        let Some(wait) = wait else { return Ok(None) };
        let shows = |(view, source): &&super::TableView| {
            source.columns.iter().any(|column| columns.contains(column)).then_some(view).is_some()
        };
        let shown: Vec<&View> = plan.views.iter().filter(shows).map(|(view, _)| &**view).collect();
        let subjects = subjects(change, &plan.group, shown.iter().copied());
        let views = shown.iter().map(|view| view.name.clone()).collect();
        Ok(Some(Postponed { group: plan.group.name.clone(), subjects, views, wait }))
    }
}

/// Whose change it is, with the other columns that keys of these views are made of: before it, and after it.
pub fn subjects<'v>(change: &Change, group: &Group, views: impl Iterator<Item = &'v View>) -> BTreeSet<Subject> {
    let others: BTreeSet<Arc<str>> = views
        .flat_map(|view| {
            view.key.others().chain(view.tag.iter().flat_map(|tag| tag.others())).cloned().collect::<Vec<_>>()
        })
        .collect();
    let rows = [change.before.as_ref(), change.after.as_ref()].into_iter().flatten();
    let subject = |row: &Row| {
        let text = |column: &Arc<str>| match row.get(column) {
            Cell::Value(text) => Some((column.to_string(), text.to_string())),
            Cell::Null | Cell::Unknown => None,
        };
        let entity = group.entity(row)?.to_owned();
        Some(Subject { entity, columns: others.iter().filter_map(text).collect() })
    };
    let told = rows.filter_map(subject);
    // A row of which less is known says nothing beside one of which all is.
    let all: BTreeSet<Subject> = told.collect();
    let most = all.iter().map(|subject| subject.columns.len()).max().unwrap_or(0);
    all.into_iter().filter(|subject| subject.columns.len() == most).collect()
}

/// What is to be sent, so that all of this is dropped: what is alike in one.
pub fn invalidations<'s>(subjects: impl IntoIterator<Item = (&'s Arc<str>, &'s Subject, &'s Views)>) -> Vec<Signal> {
    let mut alike: BTreeMap<(&Arc<str>, &Views), Vec<Subject>> = BTreeMap::new();
    for (group, subject, views) in subjects {
        alike.entry((group, views)).or_default().push(subject.clone());
    }
    let signal = |((group, views), subjects): ((&Arc<str>, &Views), Vec<Subject>)| Signal::Invalidate {
        group: group.to_string(),
        subjects,
        views: views.iter().map(|view| view.to_string()).collect(),
    };
    alike.into_iter().map(signal).collect()
}
