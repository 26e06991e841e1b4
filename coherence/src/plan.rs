//! What a change does, to which entries, and why. Pure.

mod invalidated;
mod postponed;
mod reason;
mod target;
mod versioned;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use lockstep_schemas::change::{Cell, Change, Op, Row, Text};
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{Group, OnChange, Policy, Rows, TierName, View, ViewSource};
use lockstep_tiers::tier::ENTRY_BYTES_MAX;
use lockstep_tiers::{Action, edge};

pub use postponed::{Postponed, Views, invalidations, subjects};
pub use reason::Why;
use target::Targets;
pub use versioned::{OfViews, Plans};

/// The effect of a change on one view.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An action on an entry of a Redis tier.
    Entry(EntryAction),
    /// A purge at the edge.
    Purge(String),
}

impl Effect {
    /// Its entry's action, where it is one.
    pub fn entry(&self) -> Option<&EntryAction> {
        match self {
            Effect::Entry(entry) => Some(entry),
            Effect::Purge(_) => None,
        }
    }
}

/// An action, and what would be needed to fill its entry again.
#[derive(Clone, Debug)]
pub struct EntryAction {
    /// The view of the entry.
    pub view: Arc<View>,
    /// Whose it is.
    pub entity: Text,
    /// Its key.
    pub key: Key,
    /// What happens to it.
    pub action: Action,
    /// What a call carries for the action: arguments, and bytes at most.
    pub(crate) size: (usize, usize),
}

impl EntryAction {
    pub(crate) fn new(view: Arc<View>, entity: Text, key: Key, action: Action) -> Self {
        EntryAction { view, entity, key, size: action.size(), action }
    }
}

impl PartialEq for EntryAction {
    fn eq(&self, other: &Self) -> bool {
        self.view.name == other.view.name && self.key == other.key && self.action == other.action
    }
}

/// What a change does to one view, and why. A key that moves has two effects; a change that does not concern the view none.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The view's name.
    pub view: Arc<str>,
    /// Why it is so.
    pub why: Why,
    /// What happens.
    pub effects: Vec<Effect>,
}

/// A change that can't be planned: which entries it concerns is not in the log.
#[derive(Debug, PartialEq, Eq)]
pub struct NoEntity;

/// The policy, arranged by table.
pub struct Planner {
    tables: HashMap<Arc<str>, TablePlan, RandomState>,
    groups: BTreeMap<Arc<str>, Vec<Arc<View>>>,
}

struct TablePlan {
    group: Group,
    views: Vec<TableView>,
}

/// A view that reads a table, and what it reads of it.
type TableView = (Arc<View>, ViewSource);

impl Verdict {
    /// Whether what was made of the row is another one now, or will be after a pass.
    pub fn concerns(&self) -> bool {
        !self.effects.is_empty() || matches!(self.why, Why::Deferred(_))
    }
}

impl Planner {
    /// Arranges a policy whose views have one version of entries each.
    pub fn new(policy: &Policy) -> Self {
        Self::of_versions(policy, &OfViews::new())
    }

    /// Arranges a policy, a view once for each version of its entries that is kept in step.
    pub fn of_versions(policy: &Policy, versions: &OfViews) -> Self {
        let kept_of = |group: &str| -> Vec<Arc<View>> {
            policy.views_of(group).flat_map(|view| versioned::kept(view, versions)).collect()
        };
        let plan_of = |group: &Group, table: &Arc<str>| {
            let views = kept_of(&group.name);
            let views = views.iter().filter_map(|view| Some((view.clone(), view.source(table)?.clone()))).collect();
            TablePlan { group: group.clone(), views }
        };
        let tables = policy.groups.values().flat_map(|group| group.tables.iter().map(move |table| (group, table)));
        let views_of = |name: &Arc<str>| (name.clone(), kept_of(name));
        Planner {
            tables: tables.map(|(group, table)| (table.clone(), plan_of(group, table))).collect(),
            groups: policy.groups.keys().map(views_of).collect(),
        }
    }

    /// The effects of one change.
    pub fn effects(&self, change: &Change) -> Result<Vec<Effect>, NoEntity> {
        let Some((views, entity)) = self.concerned(change)? else { return Ok(Vec::new()) };
        let mut effects = Vec::with_capacity(views.len());
        for (view, source) in views {
            judge(change, view, source, entity, &mut effects)?;
        }
        Ok(effects)
    }

    /// The effects of one change on each view that reads its table, with their reasons.
    ///
    /// Only an update refreshes; insert and delete invalidate, so that only a fill creates an entry, and entries are
    /// always whole (docs/protocol.md, [11a]). A key change is a delete and an insert.
    pub fn verdicts(&self, change: &Change) -> Result<Vec<Verdict>, NoEntity> {
        let Some((views, entity)) = self.concerned(change)? else { return Ok(Vec::new()) };
        let verdict = |(view, source): &TableView| {
            let mut effects = Vec::new();
            let why = judge(change, view, source, entity, &mut effects)?;
            Ok(Verdict { view: view.name.clone(), why, effects })
        };
        views.iter().map(verdict).collect()
    }

    /// The views that read the change's table, and whose entries they are; `None` where it concerns nobody's.
    fn concerned<'p>(&'p self, change: &'p Change) -> Result<Option<(&'p [TableView], &'p Text)>, NoEntity> {
        let Some(plan) = self.tables.get(&change.table) else { return Ok(None) };
        if plan.views.is_empty() || matches!(change.op, Op::Read | Op::Truncate) {
            return Ok(None);
        }
        match change.row().map(|row| row.get(&plan.group.entity_key)) {
            Some(Cell::Value(entity)) => Ok(Some((&plan.views, entity))),
            // A row of nobody is in no entry.
            Some(Cell::Null) => Ok(None),
            _ => Err(NoEntity),
        }
    }
}

/// Adds what the change does to one view, and says why.
fn judge(
    change: &Change,
    view: &Arc<View>,
    source: &ViewSource,
    entity: &Text,
    effects: &mut Vec<Effect>,
) -> Result<Why, NoEntity> {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let Some(pattern) = pattern else { return Ok(Why::NoKey) };
    let Targets { keys, moved } = Targets::of(change, pattern, entity)?;
    if keys.iter().all(Option::is_none) {
        return Ok(Why::NoKey);
    }
    if !moved && let Some(why) = indifference(change, view, source) {
        return Ok(why);
    }
    let effect = |key: Key, action: Action| match view.tier {
        TierName::L3 => Effect::Purge(edge::tag(key.as_str())),
        _ => Effect::Entry(EntryAction::new(view.clone(), entity.clone(), key, action)),
    };
    if moved {
        effects.extend(keys.into_iter().flatten().map(|key| effect(key, Action::Invalidate)));
        return Ok(Why::KeyMoved);
    }
    let (action, why) = match action(change, view, source) {
        Ok(action) => (action, Why::Updated),
        Err(why) => (Action::Invalidate, why),
    };
    effects.extend(keys.into_iter().flatten().next().map(|key| effect(key, action)));
    Ok(why)
}

/// Whether an update is known not to concern the view, or not yet, and why.
fn indifference(change: &Change, view: &View, source: &ViewSource) -> Option<Why> {
    let (Op::Update, Some(after)) = (change.op, &change.after) else { return None };
    if change.incomplete {
        return None;
    }
    let before = change.before.as_ref();
    if let Some(when) = &source.when {
        return (!when.holds(before, after)).then(|| Why::TestFails(when.to_string()));
    }
    let same = |row: &Row, column: &str| is_known(row, column) && row.get(column) == after.get(column);
    if before.is_some_and(|row| source.reads().all(|column| same(row, column))) {
        return Some(Why::Unchanged);
    }
    let (wait, deferred) = (view.deferred?, source.deferred.as_ref()?);
    let is_prompt = |column: &Arc<str>| !before.is_some_and(|row| same(row, column));
    (!deferred.prompt.iter().any(is_prompt)).then_some(Why::Deferred(wait))
}

fn is_known(row: &Row, column: &str) -> bool {
    *row.get(column) != Cell::Unknown
}

/// The refresh of an entry, or why there can't be one.
fn action(change: &Change, view: &View, source: &ViewSource) -> Result<Action, Why> {
    let after = match (change.op, &change.after) {
        (Op::Update, Some(after)) => after,
        (Op::Insert, _) => return Err(Why::Inserted),
        _ => return Err(Why::Deleted),
    };
    if view.tier == TierName::L3 {
        return Err(source.when.as_ref().map_or(Why::Updated, |when| Why::TestHolds(when.to_string())));
    }
    if view.on_change == OnChange::Invalidate {
        return Err(Why::Policy);
    }
    if change.incomplete {
        return Err(Why::Incomplete);
    }
    let fields = match &source.rows {
        Some(rows) => row_field(change, source, rows, after)?,
        None => columns(source, after)?,
    };
    // With one row an entity, of one source, its columns are all that the entry has.
    let is_whole = view.sources.len() == 1 && source.rows.is_none() && fields.is_known();
    // A record without a commit time says nothing of its age.
    let born = Some(change.committed_at).filter(|committed_at| is_whole && *committed_at > 0);
    let action = Action::Refresh { position: change.position, ttl: view.ttl, born, fields };
    // What is larger than an entry may be is never cached.
    if action.bytes() > ENTRY_BYTES_MAX { Err(Why::TooLarge) } else { Ok(action) }
}

/// A column a field. What is not known did not change, and stays as it is; of one that the log does not have at all nobody
/// can tell.
fn columns(source: &ViewSource, after: &Row) -> Result<Row, Why> {
    let mut cells = Vec::with_capacity(source.columns.len());
    for (column, cell) in after.cells(&*source.columns) {
        cells.push(cell.ok_or_else(|| Why::Unknown(column.clone()))?.clone());
    }
    Ok(Row::new(source.columns.clone(), cells))
}

/// A row a field, whole or not at all. A row that is called otherwise than before would leave its old field behind.
fn row_field(change: &Change, source: &ViewSource, rows: &Rows, after: &Row) -> Result<Row, Why> {
    let named = after.text(&rows.column).ok_or_else(|| Why::Unknown(rows.column.clone()))?;
    if change.before.as_ref().is_some_and(|before| before.text(&rows.column) != Some(named)) {
        return Err(Why::RowMoved);
    }
    if let Some(column) = source.columns.iter().find(|column| !is_known(after, column)) {
        return Err(Why::Unknown(column.clone()));
    }
    let text = source.row_text(|_, column| after.text(column));
    Ok(Row::new([rows.field(named)].into(), vec![Cell::Value(text.into())]))
}

#[cfg(test)]
mod tests;
