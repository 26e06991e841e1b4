//! The policy's file: its form, and what turns it into a [`Policy`].

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_process::suggest;
use serde::Deserialize;

use super::groups::{GroupFile, groups};
use super::rules::{self, TableFile};
use super::view_file::{ViewFile, view_of};
use super::warming::{WarmingFile, warming};
use super::{Policy, across};
use crate::table_name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: BTreeMap<String, GroupFile>,
    #[serde(default)]
    views: BTreeMap<String, ViewFile>,
    #[serde(default)]
    tables: BTreeMap<String, TableFile>,
    #[serde(default)]
    warming: WarmingFile,
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
    let policy = Policy { groups, views, rules, warming: warming(file.warming)? };
    across::check(&policy)?;
    Ok(policy)
}

/// A table's one text, however the file writes it.
pub(super) fn table_of(text: &str) -> Result<Arc<str>, String> {
    let (schema, table) =
        table_name::split(text).ok_or_else(|| format!("write table `{text}` with its schema: `public.{text}`"))?;
    Ok(table_name::full_name(&schema, &table).into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{OnBehind, OnChange, Staleness};
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
    fn what_a_view_may_say() {
        let policy = Policy::parse(super::super::DEFAULT).expect("the default policy");
        let cart = &policy.views["cart"];
        let rows = cart.sources[1].rows.as_ref().expect("rows");
        assert_eq!((&*rows.field("7"), &*rows.column), ("line:7", "line_id"));
        assert!(cart.has_field("line:7") && cart.has_field("updated_at") && !cart.has_field("quantity"));
        assert_eq!(cart.fields().map(|field| &**field).collect::<Vec<_>>(), ["user_id", "updated_at"]);
        let changed = |from: &str, to: &str| {
            let text = super::super::DEFAULT.replacen(from, to, 1);
            Policy::parse(&text).unwrap_or_else(|why| panic!("{why}"))
        };
        let policy =
            changed("ttl = \"2h\"", "ttl = \"2h\"\nage_max = \"6h\"\non_change = \"invalidate\"\nbound = \"5s\"");
        let view = &policy.views["product_all"];
        assert_eq!((view.on_change, view.sliding), (OnChange::Invalidate, false));
        assert_eq!((view.age_max, cart.age_max), (Some(Duration::from_secs(21_600)), None));
        let staleness = Staleness { bound: Duration::from_secs(5), on_behind: OnBehind::Bypass };
        assert_eq!(view.staleness, Some(staleness));
        let at = super::super::DEFAULT.rfind("columns = [\"stock\"]").expect("the page's last source");
        let (before, after) = super::super::DEFAULT.split_at(at);
        let policy = Policy::parse(&format!("{before}when = \"stock crosses 0\"\n{after}")).expect("a policy");
        let when = policy.views["product_page"].sources[2].when.as_ref().expect("a test");
        assert_eq!(when.to_string(), "stock crosses 0");
        assert_eq!(policy.views["product_page"].sources[2].reads().count(), 2);
    }

    #[test]
    fn columns_may_wait_for_a_pass() {
        let text = r#"
            [groups.catalogue]
            entity_key = "id"
            tables = ["public.products", "public.texts"]
            [views.item]
            group = "catalogue"
            tiers = ["l2"]
            key = "item:{id}"
            ttl = "2h"
            deferred = "5m"
            sources = [
                { table = "public.products", columns = ["id", "name", "note"], deferred = ["note"] },
                { table = "public.texts", columns = ["text"], deferred = ["text"] },
            ]
        "#;
        let policy = Policy::parse(text).unwrap_or_else(|why| panic!("{why}"));
        let view = &policy.views["item"];
        assert_eq!(view.deferred, Some(Duration::from_secs(300)));
        let prompt = |at: usize| view.sources[at].deferred.as_ref().map(|deferred| deferred.prompt.clone());
        assert_eq!((prompt(0), prompt(1)), (Some(vec!["name".into()]), Some(Vec::new())));
        let page = "[views.page]\ngroup = \"catalogue\"\ntiers = [\"l3\"]\nkey = \"/p/{id}\"\ntag = \"p:{id}\"\nttl = \"1h\"\n\
                    sources = [{ table = \"public.products\", columns = [\"name\", \"note\"] }]";
        let policy = Policy::parse(&format!("{text}\n{page}")).unwrap_or_else(|why| panic!("{why}"));
        for view in ["item", "page"] {
            let waits = |field: &str| policy.may_wait(&policy.views[view], field);
            assert_eq!((waits("note"), waits("name")), (true, false), "{view}");
        }
    }
}
