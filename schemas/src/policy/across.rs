//! What a policy says of several views, or of views and tables, at once.

use super::{Policy, PolicyError, TierName, View, ViewSource};
use crate::key::KeyPattern;

pub(super) fn check(policy: &Policy) -> Result<(), PolicyError> {
    for view in policy.views.values() {
        let checked = through(view, policy).and_then(|()| two_ways(view, policy)).and_then(|()| private(view, policy));
        checked.map_err(|why| PolicyError::new(format!("view {}", view.name), why))?;
    }
    keys(policy)
}

/// An L1 view over an L2 view: same group, its fields a subset (docs/protocol.md, [3a]-[3e], [3i]).
fn through(view: &View, policy: &Policy) -> Result<(), String> {
    let Some(name) = &view.through else { return Ok(()) };
    let beneath = policy.views.get(name).ok_or_else(|| format!("there is no view `{name}` to go through"))?;
    if view.tier != TierName::L1 || beneath.tier != TierName::L2 {
        return Err("only a view on l1 goes `through` one, and that one is on l2".to_owned());
    }
    if view.group != beneath.group {
        return Err(format!("it follows group {}, view {name} follows {}", view.group, beneath.group));
    }
    if !beneath.key.is_plain() {
        return Err(format!("the keys of view {name} are of more than the entity: nothing goes through it"));
    }
    if view.sources[0].table != beneath.sources[0].table {
        return Err(format!("its first source is not that of view {name}: they would not exist for the same entities"));
    }
    if let Some(field) = missing(view, beneath) {
        return Err(format!("field {field} is not in view {name}, through which it is filled"));
    }
    match sooner(view, beneath) {
        Some(column) => Err(format!(
            "column {column} is deferred in view {name}, and so must be here: what this view has shown, it would be filled \
             without"
        )),
        None => Ok(()),
    }
}

/// A column that follows its changes at once though the view beneath waits for a pass (docs/protocol.md, [17a]).
fn sooner<'v>(view: &'v View, beneath: &View) -> Option<&'v str> {
    let waits = |source: &'v ViewSource| {
        let of_beneath = beneath.source(&source.table).map_or(&[][..], ViewSource::deferred);
        let waits = |column: &&std::sync::Arc<str>| of_beneath.contains(column) && !source.deferred().contains(column);
        source.columns.iter().find(waits).map(|column| &**column)
    };
    view.sources.iter().find_map(waits)
}

/// A field that the view beneath lacks, or has from another table.
fn missing(view: &View, beneath: &View) -> Option<String> {
    let lacks = |source: &ViewSource| {
        let known = beneath.source(&source.table);
        match &source.rows {
            Some(rows) => {
                let same = known.is_some_and(|known| known.rows == source.rows && known.columns == source.columns);
                (!same).then(|| format!("{} of {}", rows.name(), source.table))
            }
            None => {
                let known = known.filter(|known| known.rows.is_none());
                let has = |column| known.is_some_and(|known| known.columns.contains(column));
                source.columns.iter().find(|column| !has(column)).map(|column| column.to_string())
            }
        }
    };
    view.sources.iter().find_map(lacks)
}

/// What L2 has too is filled outward: of two ways, one would be behind the other (docs/protocol.md, [3i]).
fn two_ways(view: &View, policy: &Policy) -> Result<(), String> {
    if view.tier != TierName::L1 || view.through.is_some() || !view.key.is_plain() {
        return Ok(());
    }
    let beneath = policy.views_of(&view.group).find(|other| {
        other.tier == TierName::L2
            && other.key.is_plain()
            && other.sources[0].table == view.sources[0].table
            && missing(view, other).is_none()
    });
    match beneath {
        Some(other) => Err(format!("view {0} has all of this on l2: fill it `through = \"{0}\"`", other.name)),
        None => Ok(()),
    }
}

/// Keys are shown, with a mask for the entity only; names of fields without one.
fn private(view: &View, policy: &Policy) -> Result<(), String> {
    let mut others = [Some(&view.key), view.tag.as_ref()].into_iter().flatten().flat_map(KeyPattern::others);
    let named = |source: &ViewSource| {
        let column = &source.rows.as_ref()?.column;
        policy.is_private(&source.table, column).then(|| format!("column {column} of {} is private", source.table))
    };
    if let Some(why) = view.sources.iter().find_map(named) {
        return Err(format!("{why}, and would stand in the names of fields"));
    }
    let table = &view.sources[0].table;
    match others.find(|column| policy.is_private(table, column)) {
        Some(column) => Err(format!("column {column} of {table} is private, and would stand in every key")),
        None => Ok(()),
    }
}

fn keys(policy: &Policy) -> Result<(), PolicyError> {
    let views: Vec<_> = policy.views.values().collect();
    for (i, view) in views.iter().enumerate() {
        if let Some(other) = views[..i].iter().find(|other| other.tier == view.tier && other.key.overlaps(&view.key)) {
            return Err(PolicyError::new(
                format!("view {}", view.name),
                format!("view {} could have the same keys on that tier", other.name),
            ));
        }
    }
    Ok(())
}
