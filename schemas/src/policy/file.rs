//! The policy's file: its form, and the checks that turn it into a [`Policy`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::suggest;
use serde::Deserialize;

use super::rules::{self, TableFile};
use super::{Group, Policy, TierName, View, ViewSource};
use crate::key::KeyPattern;
use crate::table_name;

/// An entry has at most so many fields (docs/protocol.md, "Limits").
const FIELDS_MAX: usize = 500;

/// `lockstep.<name>` are topics with another content.
const RESERVED: [&str; 6] = ["progress", "schemas", "checkpoint", "hot", "tags", "applied"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: BTreeMap<String, GroupFile>,
    #[serde(default)]
    views: BTreeMap<String, ViewFile>,
    #[serde(default)]
    tables: BTreeMap<String, TableFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    entity_key: String,
    tables: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewFile {
    group: String,
    tiers: Vec<String>,
    through: Option<String>,
    key: String,
    tag: Option<String>,
    ttl: String,
    #[serde(default)]
    sliding: bool,
    hot_set: Option<usize>,
    #[serde(default)]
    warm: bool,
    sources: Vec<SourceFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceFile {
    table: String,
    columns: Vec<String>,
}

/// Why a policy can't be used, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{place}: {why}")]
pub struct PolicyError {
    place: String,
    why: String,
}

impl PolicyError {
    pub(super) fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        PolicyError { place: place.into(), why: why.into() }
    }
}

pub(super) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
        PolicyError::new(format!("line {line}"), suggest::explain(error.message()))
    })?;
    let mut groups = groups(file.groups)?;
    let rules = rules::rules(file.tables, &groups)?;
    rules::mark_private_keys(&mut groups, &rules);
    let mut views = BTreeMap::new();
    for (name, view) in file.views {
        let view = view_of(&name, view, &groups)?;
        views.insert(view.name.clone(), Arc::new(view));
    }
    let policy = Policy { groups, views, rules };
    policy.views.values().try_for_each(|view| check_through(view, &policy))?;
    check_keys(&policy)?;
    Ok(policy)
}

fn groups(files: BTreeMap<String, GroupFile>) -> Result<BTreeMap<Arc<str>, Group>, PolicyError> {
    let mut owners: BTreeMap<Arc<str>, String> = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for (name, file) in files {
        let place = format!("group {name}");
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') || name.is_empty() {
            return Err(PolicyError::new(place, "a group's name is part of a topic's: letters, digits, - and _ only"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(PolicyError::new(place, "this name is that of a topic of Lockstep's own"));
        }
        if file.tables.is_empty() {
            return Err(PolicyError::new(place, "a group has at least one table"));
        }
        let tables = file.tables.iter().map(|table| table_of(table)).collect::<Result<Vec<_>, _>>();
        let tables = tables.map_err(|why| PolicyError::new(place.clone(), why))?;
        for table in &tables {
            if let Some(other) = owners.insert(table.clone(), name.clone()) {
                return Err(PolicyError::new(
                    place,
                    format!("table {table} is in group {other} already; a table has one order"),
                ));
            }
        }
        let name: Arc<str> = name.into();
        groups.insert(name.clone(), Group { name, entity_key: file.entity_key.into(), tables, is_key_private: false });
    }
    Ok(groups)
}

fn view_of(name: &str, file: ViewFile, groups: &BTreeMap<Arc<str>, Group>) -> Result<View, PolicyError> {
    let place = format!("view {name}");
    let refuse = |why: String| PolicyError::new(place.clone(), why);
    let group = groups.get(file.group.as_str()).ok_or_else(|| {
        let meant = suggest::nearest(&file.group, groups.keys().map(|name| &**name));
        let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        refuse(format!("there is no group `{}`{meant}", file.group))
    })?;
    let tier = match file.tiers.as_slice() {
        [tier] => TierName::INSIDE_OUT.into_iter().find(|name| name.as_str() == tier),
        _ => return Err(refuse("a view lives on one tier; declare an L1 view `through` the one on L2".to_owned())),
    };
    let tier = tier.ok_or_else(|| refuse(format!("there is no tier `{}`; tiers are l1, l2, l3", file.tiers[0])))?;
    let pattern = |text: &str| {
        let pattern = KeyPattern::parse(text, &group.entity_key).map_err(|error| refuse(error.to_string()))?;
        Ok(pattern.private(group.is_key_private))
    };
    let tag = file.tag.as_deref().map(pattern).transpose()?;
    if (tier == TierName::L3) != tag.is_some() {
        return Err(refuse("a view on l3 is purged by its `tag`; views on l1 and l2 have none".to_owned()));
    }
    let sources = sources(file.sources, group).map_err(refuse)?;
    Ok(View {
        name: name.into(),
        group: group.name.clone(),
        tier,
        through: file.through.map(Arc::from),
        key: pattern(&file.key)?,
        tag,
        ttl: duration(&file.ttl).map_err(refuse)?,
        sliding: file.sliding,
        hot_set: file.hot_set,
        warm: file.warm,
        sources,
    })
}

fn sources(files: Vec<SourceFile>, group: &Group) -> Result<Vec<ViewSource>, String> {
    let mut fields = HashSet::new();
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let named = table_of(&file.table)?;
        let table = group.tables.iter().find(|table| **table == named);
        let table = table.ok_or_else(|| {
            format!("table {} is not in group {}: its changes have another order", file.table, group.name)
        })?;
        for column in &file.columns {
            if column.starts_with('_') {
                return Err(format!("column {column}: fields that begin with `_` are Lockstep's own"));
            }
            if !fields.insert(column.clone()) {
                return Err(format!("two sources give a field {column}"));
            }
        }
        let columns = file.columns.into_iter().map(Arc::from).collect();
        sources.push(ViewSource { table: table.clone(), columns });
    }
    match fields.len() {
        0 => Err("a view has at least one source with a column".to_owned()),
        n if n > FIELDS_MAX => Err(format!("{n} fields; an entry has at most {FIELDS_MAX}")),
        _ => Ok(sources),
    }
}

/// A table's one text, however the file writes it.
pub(super) fn table_of(text: &str) -> Result<Arc<str>, String> {
    let (schema, table) =
        table_name::split(text).ok_or_else(|| format!("write table `{text}` with its schema: `public.{text}`"))?;
    Ok(table_name::full_name(&schema, &table).into())
}

/// An L1 view over an L2 view: same group, its fields a subset (docs/protocol.md, [3a]-[3e], [3i]).
fn check_through(view: &View, policy: &Policy) -> Result<(), PolicyError> {
    let refuse = |why: String| PolicyError::new(format!("view {}", view.name), why);
    let Some(name) = &view.through else { return Ok(()) };
    let beneath = policy.views.get(name).ok_or_else(|| refuse(format!("there is no view `{name}` to go through")))?;
    if view.tier != TierName::L1 || beneath.tier != TierName::L2 {
        return Err(refuse("only a view on l1 goes `through` one, and that one is on l2".to_owned()));
    }
    if view.group != beneath.group {
        return Err(refuse(format!("it follows group {}, view {name} follows {}", view.group, beneath.group)));
    }
    let missing = view.fields().find(|field| !beneath.fields().any(|known| known == *field));
    match missing {
        Some(field) => Err(refuse(format!("field {field} is not in view {name}, through which it is filled"))),
        None => Ok(()),
    }
}

fn check_keys(policy: &Policy) -> Result<(), PolicyError> {
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

fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration; write 15m, 2h or 1h 30m");
    let span: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    let duration = Duration::try_from(span).map_err(|_| refuse())?;
    if duration.is_zero() { Err(refuse()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_right() {
        let policy = Policy::parse(super::super::DEFAULT).expect("the default policy");
        assert_eq!(policy.followed_groups().count(), 2);
        assert_eq!(policy.group_of("public.prices").map(|group| &*group.name), Some("catalogue"));
        assert_eq!(policy.views["product_hot"].through.as_deref(), Some("product_all"));
    }

    #[test]
    fn any_table_and_entity_key_can_be_named() {
        let policy = r#"
            [groups.odd]
            entity_key = "Id Nr."
            tables = ['"my.schema"."a ""table"""', "public.Unit Price"]
            [views.odd]
            group = "odd"
            tiers = ["l2"]
            key = "odd:{Id Nr.}"
            ttl = "1h"
            [[views.odd.sources]]
            table = "\"my.schema\".a \"table\""
            columns = ["Größe", "1st"]
        "#;
        let policy = Policy::parse(policy).expect("a policy");
        assert_eq!(*policy.groups["odd"].tables, ["\"my.schema\".a \"table\"".into(), "public.Unit Price".into()]);
        assert_eq!(policy.views["odd"].key.key("7").as_str(), "odd:7");
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let check = |from: &str, to: &str, expected: &str| {
            let text = super::super::DEFAULT.replacen(from, to, 1);
            let why = Policy::parse(&text).expect_err(expected).to_string();
            assert!(why.contains(expected), "{why}");
        };
        check("warm = true", "wram = true", "did you mean `warm`?");
        check("\"public.orders\"", "\"orders\"", "with its schema: `public.orders`");
        check("\"public.orders\"", "\"\\\"public\\\".\\\"prices\\\"\"", "in group catalogue already");
        check("group = \"catalogue\"", "group = \"catalog\"", "did you mean `catalogue`?");
        check("ttl = \"2h\"", "ttl = \"soon\"", "not a duration");
        check("tiers = [\"l2\"]", "tiers = [\"l4\"]", "there is no tier `l4`");
        check("\"stock\"", "\"stock\", \"name\"", "two sources give a field name");
        check("through = \"product_all\"", "through = \"product_page\"", "that one is on l2");
        check("key = \"user:{user_id}\"", "key = \"user:{id}\"", "not the group's entity key");
        check("[groups.sales]", "[groups.progress]", "a topic of Lockstep's own");
        check("\"public.orders\"", "\"public.prices\"", "in group catalogue already");
        check("columns = [\"price_pence\", \"currency\"]", "columns = [\"price_pence\"]", "not in view product_all");
        check("[tables.\"public.users\"]", "[tables.\"public.user\"]", "did you mean `public.users`?");
        check("[tables.\"public.users\"]", "[tables.users]", "with its schema: `public.users`");
        check("private = [", "privat = [", "did you mean `private`?");
        check("private = [", "private = [\"email\", ", "column email is named twice");
    }
}
