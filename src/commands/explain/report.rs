//! What `explain` tells, for people and for scripts. Private values are masked.

use lockstep_coherence::{Effect, NoEntity, Planner, Verdict};
use lockstep_schemas::change::{Cell, Change, Op};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::shown::Shown;
use lockstep_tiers::Action;
use serde::Serialize;

/// One changed row.
#[derive(Serialize)]
pub(super) struct Explained {
    op: &'static str,
    table: String,
    entity: Option<String>,
    /// In the order of views; empty where none reads the table.
    views: Vec<OfView>,
    /// Which entries it concerns is not in the log: all of its partition go.
    drops_partition: bool,
}

/// What becomes of one view's entry or page.
#[derive(Serialize)]
struct OfView {
    view: String,
    tier: &'static str,
    /// `refresh`, `invalidate`, `purge`, `nothing`.
    action: &'static str,
    key: Option<String>,
    tag: Option<String>,
    fields: Vec<String>,
    why: String,
}

pub(super) fn explained(policy: &Policy, planner: &Planner, change: &Change) -> Explained {
    let group = policy.group_of(&change.table);
    let entity = group.and_then(|group| Some(group.shown(group.entity(change.row()?)?).to_string()));
    let verdicts = planner.verdicts(change);
    let drops_partition = verdicts == Err(NoEntity);
    let is_private = group.is_some_and(|group| group.is_key_private);
    let views = verdicts.unwrap_or_default();
    Explained {
        op: match change.op {
            Op::Insert => "insert",
            Op::Delete => "delete",
            _ => "update",
        },
        table: change.table.to_string(),
        entity,
        views: views.iter().flat_map(|verdict| of_view(policy, verdict, is_private)).collect(),
        drops_partition,
    }
}

fn of_view(policy: &Policy, verdict: &Verdict, is_private: bool) -> Vec<OfView> {
    let nothing = || OfView {
        view: verdict.view.to_string(),
        tier: policy.views.get(&verdict.view).map_or("", |view| view.tier.as_str()),
        action: "nothing",
        key: None,
        tag: None,
        fields: Vec::new(),
        why: verdict.why.to_string(),
    };
    let one = |effect: &Effect| match effect {
        Effect::Purge(tag) => {
            let tag = if is_private { Shown::private(tag) } else { Shown::public(tag) };
            OfView { action: "purge", tag: Some(tag.to_string()), ..nothing() }
        }
        Effect::Entry(entry) => {
            let (action, fields) = match &entry.action {
                Action::Invalidate => ("invalidate", Vec::new()),
                Action::Refresh { fields, .. } => {
                    let known = fields.iter().filter(|(_, cell)| **cell != Cell::Unknown);
                    ("refresh", known.map(|(name, _)| name.to_owned()).collect())
                }
            };
            OfView { action, key: Some(entry.key.to_string()), fields, ..nothing() }
        }
    };
    if verdict.effects.is_empty() { vec![nothing()] } else { verdict.effects.iter().map(one).collect() }
}

pub(super) fn lines(explained: &[Explained]) -> Vec<String> {
    if explained.is_empty() {
        return vec!["no row of the policy's tables would change".to_owned()];
    }
    let mut lines = Vec::new();
    for change in explained {
        let entity = change.entity.as_deref().unwrap_or("of nobody");
        lines.push(format!("{} {} {entity}", change.op, change.table));
        for view in &change.views {
            let target = view.key.as_ref().or(view.tag.as_ref()).map_or("-", String::as_str);
            let fields = if view.fields.is_empty() { String::new() } else { format!(" ({})", view.fields.join(", ")) };
            lines.push(format!("  {} {} {target}{fields}: {}, {}", view.tier, view.action, view.view, view.why));
        }
        if change.drops_partition {
            lines.push("  every entry of its partition goes: the log does not tell which it concerns".to_owned());
        } else if change.views.is_empty() {
            lines.push("  no view is made of it".to_owned());
        }
    }
    lines
}
