//! What a change does, and to which entries. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_schemas::change::{Cell, Change, Op, Row};
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{Group, Policy, TierName, View, ViewSource};
use lockstep_tiers::tier::ENTRY_BYTES_MAX;
use lockstep_tiers::{Action, edge};

/// The effect of a change on one view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
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
pub(crate) struct EntryAction {
    pub view: Arc<View>,
    pub entity: String,
    pub key: Key,
    pub action: Action,
}

impl PartialEq for EntryAction {
    fn eq(&self, other: &Self) -> bool {
        self.view.name == other.view.name && self.key == other.key && self.action == other.action
    }
}

/// A change that can't be planned: its entity is not in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoEntity;

/// The policy, arranged by table.
pub struct Planner {
    tables: BTreeMap<Arc<str>, TablePlan>,
}

struct TablePlan {
    group: Group,
    views: Vec<(Arc<View>, ViewSource)>,
}

impl Planner {
    /// Arranges a policy.
    pub fn new(policy: &Policy) -> Self {
        let plan_of = |group: &Group, table: &Arc<str>| {
            let views = policy.views_of(&group.name);
            let views = views.filter_map(|view| Some((view.clone(), view.source(table)?.clone()))).collect();
            TablePlan { group: group.clone(), views }
        };
        let tables = policy.groups.values().flat_map(|group| group.tables.iter().map(move |table| (group, table)));
        Planner { tables: tables.map(|(group, table)| (table.clone(), plan_of(group, table))).collect() }
    }

    /// The effects of one change.
    ///
    /// Only an update refreshes; insert and delete invalidate, so that only a fill creates an entry, and entries are
    /// always whole (docs/protocol.md, [11a]). A key change is a delete and an insert.
    pub(crate) fn effects(&self, change: &Change) -> Result<Vec<Effect>, NoEntity> {
        let Some(plan) = self.tables.get(&change.table) else { return Ok(Vec::new()) };
        if plan.views.is_empty() || matches!(change.op, Op::Read | Op::Truncate) {
            return Ok(Vec::new());
        }
        let entity = match change.row().map(|row| row.get(&plan.group.entity_key)) {
            Some(Cell::Value(entity)) => entity,
            // A row of nobody is in no entry.
            Some(Cell::Null) => return Ok(Vec::new()),
            _ => return Err(NoEntity),
        };
        let effects = plan.views.iter().filter_map(|(view, source)| effect(change, view, source, entity));
        Ok(effects.collect())
    }
}

fn effect(change: &Change, view: &Arc<View>, source: &ViewSource, entity: &str) -> Option<Effect> {
    if is_indifferent(change, source) {
        return None;
    }
    if view.tier == TierName::L3 {
        let tag = view.tag.as_ref()?.key(entity);
        return Some(Effect::Purge(edge::tag(tag.as_str())));
    }
    let action = action(change, view, source);
    Some(Effect::Entry(EntryAction {
        view: view.clone(),
        entity: entity.to_owned(),
        key: view.key.key(entity),
        action,
    }))
}

fn action(change: &Change, view: &View, source: &ViewSource) -> Action {
    let (Op::Update, Some(after)) = (change.op, &change.after) else { return Action::Invalidate };
    if change.incomplete || !source.columns.iter().all(|column| after.has(column)) {
        return Action::Invalidate;
    }
    let mut fields = Vec::with_capacity(source.columns.len());
    for column in &source.columns {
        match after.get(column) {
            Cell::Value(text) => fields.push((column.clone(), Some(text.clone()))),
            Cell::Null => fields.push((column.clone(), None)),
            Cell::Unknown => {}
        }
    }
    let action = Action::Refresh { position: change.position, ttl: view.ttl, fields };
    // What is larger than an entry may be is never cached.
    if action.bytes() > ENTRY_BYTES_MAX { Action::Invalidate } else { action }
}

/// Whether an update is known to leave the view's columns as they were: the old row is known there, and equal.
fn is_indifferent(change: &Change, source: &ViewSource) -> bool {
    let (Op::Update, Some(before), Some(after)) = (change.op, &change.before, &change.after) else { return false };
    if change.incomplete {
        return false;
    }
    source.columns.iter().all(|column| is_known(before, column) && before.get(column) == after.get(column))
}

fn is_known(row: &Row, column: &str) -> bool {
    *row.get(column) != Cell::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_schemas::position::{Lsn, Position};

    fn row(cells: &[(&str, Cell)]) -> Row {
        let columns = cells.iter().map(|(name, _)| Arc::from(*name)).collect();
        Row::new(columns, cells.iter().map(|(_, cell)| cell.clone()).collect())
    }

    fn text(text: &str) -> Cell {
        Cell::Value(text.to_owned())
    }

    fn change(op: Op, table: &str, before: Option<Row>, after: Option<Row>) -> Change {
        let position = Position { epoch: 1, lsn: Lsn(10), ordinal: 1 };
        Change { position, xid: 7, committed_at: 0, table: table.into(), op, before, after, incomplete: false }
    }

    fn effects(change: &Change) -> Vec<String> {
        let policy = Policy::parse(lockstep_schemas::policy::DEFAULT).expect("the default policy");
        let shown = |effect| match effect {
            Effect::Purge(tag) => format!("purge {tag}"),
            Effect::Entry(EntryAction { key, action: Action::Invalidate, .. }) => format!("invalidate {key}"),
            Effect::Entry(EntryAction { key, action: Action::Refresh { fields, .. }, .. }) => {
                let fields: Vec<String> =
                    fields.iter().map(|(name, text)| format!("{name}={}", text.as_deref().unwrap_or("null"))).collect();
                format!("refresh {key} {}", fields.join(" "))
            }
        };
        Planner::new(&policy).effects(change).expect("an entity").into_iter().map(shown).collect()
    }

    #[test]
    fn an_update_refreshes_what_it_knows() {
        let after = row(&[
            ("product_id", text("7")),
            ("name", text("bowl")),
            ("description", Cell::Unknown),
            ("category", Cell::Null),
            ("active", text("true")),
        ]);
        assert_eq!(
            effects(&change(Op::Update, "public.products", None, Some(after))),
            [
                "refresh product:all:7 product_id=7 name=bowl category=null active=true",
                "refresh product:hot:7 product_id=7 name=bowl category=null active=true",
                "purge product:7"
            ]
        );
    }

    #[test]
    fn everything_else_invalidates() {
        let prices = || row(&[("product_id", text("7")), ("price_pence", text("5")), ("currency", text("GBP"))]);
        let gone = ["invalidate product:all:7", "invalidate product:hot:7", "purge product:7"];
        assert_eq!(effects(&change(Op::Insert, "public.prices", None, Some(prices()))), gone);
        assert_eq!(effects(&change(Op::Delete, "public.prices", Some(prices()), None)), gone);
        let hollow = row(&[("product_id", text("7")), ("price_pence", Cell::Unknown), ("currency", Cell::Unknown)]);
        assert_eq!(
            effects(&Change { incomplete: true, ..change(Op::Update, "public.prices", None, Some(hollow)) }),
            gone
        );
    }

    #[test]
    fn what_no_view_shows_has_no_effect() {
        let lines = row(&[("order_id", text("7")), ("line_no", text("1"))]);
        assert!(effects(&change(Op::Insert, "public.order_lines", None, Some(lines))).is_empty());
        let same = || row(&[("product_id", text("7")), ("price_pence", text("5")), ("currency", text("GBP"))]);
        assert!(effects(&change(Op::Update, "public.prices", Some(same()), Some(same()))).is_empty());
    }
}
