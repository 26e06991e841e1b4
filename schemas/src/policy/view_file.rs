//! `[views.<name>]`: what can be said of a view without looking at the others.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::suggest;
use serde::Deserialize;

use super::file::table_of;
use super::{
    Deferred, Group, HotSet, OnBehind, OnChange, PolicyError, Rows, Staleness, TierName, View, ViewSource, When,
};
use crate::key::KeyPattern;

/// An entry has at most so many fields (docs/protocol.md, "Limits").
const FIELDS_MAX: usize = 500;
/// An idle tier moves each second, after a progress record that comes each second: it is behind by so much and well.
const BOUND_MIN: Duration = Duration::from_secs(3);
/// What waits for a pass waits in the log.
const DEFERRED_MAX: Duration = Duration::from_secs(24 * 3_600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ViewFile {
    group: String,
    tiers: Vec<String>,
    through: Option<String>,
    key: String,
    tag: Option<String>,
    ttl: String,
    age_max: Option<String>,
    #[serde(default)]
    sliding: bool,
    on_change: Option<String>,
    bound: Option<String>,
    on_behind: Option<String>,
    deferred: Option<String>,
    hot_set: Option<HotSet>,
    #[serde(default)]
    warm: bool,
    sources: Vec<SourceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    table: String,
    columns: Vec<String>,
    rows: Option<String>,
    when: Option<String>,
    deferred: Option<Vec<String>>,
}

pub(super) fn view_of(name: &str, file: ViewFile, groups: &BTreeMap<Arc<str>, Group>) -> Result<View, PolicyError> {
    let refuse = |why: String| PolicyError::new(format!("view {name}"), why);
    let group = groups.get(file.group.as_str()).ok_or_else(|| {
        let meant = suggest::nearest(&file.group, groups.keys().map(|name| &**name));
        let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        refuse(format!("there is no group `{}`{meant}", file.group))
    })?;
    let pattern = |text: &str| {
        let pattern = KeyPattern::parse(text, &group.entity_key).map_err(|error| error.to_string())?;
        Ok(pattern.private(group.is_key_private))
    };
    let view = View {
        name: name.into(),
        group: group.name.clone(),
        tier: tier(&file.tiers).map_err(refuse)?,
        through: file.through.as_deref().map(Arc::from),
        key: pattern(&file.key).map_err(refuse)?,
        tag: file.tag.as_deref().map(pattern).transpose().map_err(refuse)?,
        ttl: duration(&file.ttl).map_err(refuse)?,
        age_max: file.age_max.as_deref().map(duration).transpose().map_err(refuse)?,
        sliding: file.sliding,
        on_change: on_change(file.on_change.as_deref()).map_err(refuse)?,
        staleness: staleness(file.bound.as_deref(), file.on_behind.as_deref()).map_err(refuse)?,
        deferred: file.deferred.as_deref().map(duration).transpose().map_err(refuse)?,
        hot_set: file.hot_set,
        warm: file.warm,
        sources: sources(file.sources, group).map_err(refuse)?,
    };
    check_tier(&view, file.on_change.is_some()).map_err(refuse)?;
    check_columns_of_keys(&view).map_err(refuse)?;
    check_deferred(&view).map_err(refuse)?;
    Ok(view)
}

fn tier(names: &[String]) -> Result<TierName, String> {
    let [name] = names else {
        return Err("a view lives on one tier; declare an L1 view `through` the one on L2".to_owned());
    };
    let tier = TierName::INSIDE_OUT.into_iter().find(|tier| tier.as_str() == name);
    tier.ok_or_else(|| format!("there is no tier `{name}`; tiers are l1, l2, l3"))
}

fn on_change(text: Option<&str>) -> Result<OnChange, String> {
    match text {
        None | Some("refresh") => Ok(OnChange::Refresh),
        Some("invalidate") => Ok(OnChange::Invalidate),
        Some(other) => Err(format!("on_change `{other}`; write \"refresh\" or \"invalidate\"")),
    }
}

fn staleness(bound: Option<&str>, on_behind: Option<&str>) -> Result<Option<Staleness>, String> {
    let on_behind = match on_behind {
        None | Some("bypass") => on_behind.map(|_| OnBehind::Bypass),
        Some("stale") => Some(OnBehind::Stale),
        Some(other) => return Err(format!("on_behind `{other}`; write \"bypass\" or \"stale\"")),
    };
    let Some(bound) = bound else {
        return on_behind.map_or(Ok(None), |_| Err("on_behind needs a `bound`: behind by how much?".to_owned()));
    };
    let bound = duration(bound)?;
    if bound < BOUND_MIN {
        return Err(format!("a bound of {bound:?}; a tier where nothing happens is behind by up to {BOUND_MIN:?}"));
    }
    Ok(Some(Staleness { bound, on_behind: on_behind.unwrap_or(OnBehind::Bypass) }))
}

/// What makes sense on one kind of tier only.
fn check_tier(view: &View, says_on_change: bool) -> Result<(), String> {
    let is_edge = view.tier == TierName::L3;
    let many_rows = view.sources.iter().any(|source| source.rows.is_some());
    let why = match is_edge {
        _ if is_edge != view.tag.is_some() => "a view on l3 is purged by its `tag`; views on l1 and l2 have none",
        true if view.sliding => "a CDN extends no life by a hit: `sliding` is for l1 and l2",
        true if view.age_max.is_some() => {
            "a page at the edge is never refreshed, so its `ttl` is its greatest age: `age_max` is for l1 and l2"
        }
        true if says_on_change => "at the edge a change purges: `on_change` is for l1 and l2",
        true if view.staleness.is_some() => {
            "the edge answers without asking how far it has come: give a `bound` to the views that its origin reads"
        }
        true if view.warm => "the edge is filled by its own readers: `warm` is for l1 and l2",
        true if many_rows => "at the edge there are no fields: `rows` is for l1 and l2",
        false if view.sources.iter().any(|source| source.when.is_some()) => {
            "an entry's fields follow every change, or it would say that it has what it lacks: `when` is for l3"
        }
        _ if view.hot_set.is_some() && view.through.is_none() => "only a view `through` another has a `hot_set`",
        _ if view.hot_set == Some(HotSet::Top(0)) => "a `hot_set` of 0 has no entries; leave the view out",
        _ if view.warm && view.through.is_some() => {
            "what goes `through` another view is filled through it: `warm` is for that one"
        }
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// A key of more than the entity is known from one table's rows only, by the log and by the loader. A path at the edge
/// is asked for by others, and never made here.
fn check_columns_of_keys(view: &View) -> Result<(), String> {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let Some(column) = pattern.and_then(|pattern| pattern.others().next()) else { return Ok(()) };
    let [source] = view.sources.as_slice() else {
        return Err(format!("a change of another table does not tell {column}: a view with such a key has one source"));
    };
    let others = || pattern.into_iter().flat_map(KeyPattern::others);
    if let Some(column) = others().find(|column| !source.columns.contains(column)) {
        return Err(format!("its key needs column {column}, which its source does not list"));
    }
    if view.through.is_some() || view.warm {
        return Err(format!("who fills it must know {column}: such a view goes through none, and is not warmed"));
    }
    Ok(())
}

/// What waits for a pass, and for which.
fn check_deferred(view: &View) -> Result<(), String> {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let of_key = |column: &&Arc<str>| pattern.is_some_and(|pattern| pattern.others().any(|other| other == *column));
    let mut columns = view.sources.iter().flat_map(ViewSource::deferred);
    if let Some(column) = columns.clone().find(of_key) {
        return Err(format!("its key is made of column {column}, and so can't wait for a pass"));
    }
    match (view.deferred, columns.next()) {
        (None, Some(column)) => {
            Err(format!("column {column} is deferred by how much? say `deferred = \"5m\"` of the view"))
        }
        (Some(_), None) => {
            Err("`deferred` of a view needs a source with `deferred = [...]`: which columns?".to_owned())
        }
        (Some(wait), _) if wait > DEFERRED_MAX => {
            Err(format!("deferred by {wait:?}; the log, in which changes wait, is kept for a week: a day at most"))
        }
        _ => Ok(()),
    }
}

fn sources(files: Vec<SourceFile>, group: &Group) -> Result<Vec<ViewSource>, String> {
    let mut sources: Vec<ViewSource> = Vec::with_capacity(files.len());
    for file in files {
        let source = source(file, group)?;
        if sources.iter().any(|known| known.table == source.table) {
            return Err(format!("table {} is a source twice; one source has all of its columns", source.table));
        }
        sources.push(source);
    }
    if sources.first().is_some_and(|source| source.rows.is_some()) {
        return Err("the first source has one row an entity: it decides whether the entry exists".to_owned());
    }
    check_fields(&sources)?;
    Ok(sources)
}

fn source(file: SourceFile, group: &Group) -> Result<ViewSource, String> {
    let named = table_of(&file.table)?;
    let table = group.tables.iter().find(|table| **table == named);
    let table = table.ok_or_else(|| {
        format!("table {} is not in group {}: its changes have another order", file.table, group.name)
    })?;
    let source = ViewSource {
        table: table.clone(),
        columns: file.columns.into_iter().map(Arc::from).collect(),
        rows: file.rows.as_deref().map(Rows::parse).transpose()?,
        when: file.when.as_deref().map(When::parse).transpose().map_err(|why| format!("when {why}"))?,
        deferred: None,
    };
    let deferred = file.deferred.map(|columns| deferred(columns, &source, &group.entity_key)).transpose()?;
    let source = ViewSource { deferred, ..source };
    if source.columns.is_empty() {
        return Err(format!("source {table} has no column"));
    }
    if source.rows.as_ref().is_some_and(|rows| rows.column == group.entity_key) {
        return Err(format!("{} is the same in all rows of an entity; `rows` needs what differs", group.entity_key));
    }
    let tested = source.when.iter().flat_map(When::columns).find(|column| !source.columns.contains(column));
    match tested {
        Some(column) => Err(format!("`when` tests column {column}, which the source does not list")),
        None => Ok(source),
    }
}

fn deferred(columns: Vec<String>, source: &ViewSource, entity_key: &str) -> Result<Deferred, String> {
    let refuse = |column: &str, why: &str| Err(format!("column {column} of {} can't be deferred: {why}", source.table));
    if source.when.is_some() {
        return Err("`when` says which changes concern the view, `deferred` when they do: use one of them".to_owned());
    }
    if columns.is_empty() {
        return Err(format!("`deferred` of source {} names no column", source.table));
    }
    for column in &columns {
        if !source.columns.iter().any(|known| **known == **column) {
            return refuse(column, "its source does not list it");
        }
        if column == entity_key || source.rows.as_ref().is_some_and(|rows| *rows.column == **column) {
            return refuse(column, "it tells whose row it is");
        }
    }
    let prompt =
        source.reads().filter(|column| ***column != *entity_key && !columns.iter().any(|one| *one == ***column));
    let prompt = prompt.cloned().collect();
    Ok(Deferred { columns: columns.into_iter().map(Arc::from).collect(), prompt })
}

fn check_fields(sources: &[ViewSource]) -> Result<(), String> {
    let mut fields = HashSet::new();
    for source in sources {
        let mut own = HashSet::new();
        for column in source.columns.iter() {
            if column.starts_with('_') {
                return Err(format!("column {column}: fields that begin with `_` are Lockstep's own"));
            }
            let is_new = if source.rows.is_some() { own.insert(column) } else { fields.insert(column) };
            if !is_new {
                return Err(format!("two sources give a field {column}"));
            }
        }
    }
    let rows: Vec<&Rows> = sources.iter().filter_map(|source| source.rows.as_ref()).collect();
    for (at, one) in rows.iter().enumerate() {
        if rows[..at].iter().any(|other| other.overlaps(one)) || fields.iter().any(|field| one.row_of(field).is_some())
        {
            return Err(format!("rows of {} could have the name of another field", one.name()));
        }
    }
    match fields.len() {
        0 => Err("a view has at least one source with a column".to_owned()),
        n if n > FIELDS_MAX => Err(format!("{n} fields; an entry has at most {FIELDS_MAX}")),
        _ => Ok(()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration; write 15m, 2h or 1h 30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    let duration = Duration::try_from(span).map_err(|_| refuse())?;
    if duration.is_zero() { Err(refuse()) } else { Ok(duration) }
}
