//! `[tables."<schema.table>"]`: what the policy says of a table's columns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_process::suggest;
use serde::Deserialize;

use super::file::table_of;
use super::{Group, PolicyError, TableRules};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableFile {
    #[serde(default)]
    private: Vec<String>,
    #[serde(default)]
    allow_secret: Vec<String>,
}

/// Rules by table. Whether the columns exist is the database's to say (`lockstep check`).
pub(super) fn rules(
    files: BTreeMap<String, TableFile>,
    groups: &BTreeMap<Arc<str>, Group>,
) -> Result<BTreeMap<Arc<str>, TableRules>, PolicyError> {
    let mut rules = BTreeMap::new();
    for (name, file) in files {
        let refuse = |why: String| PolicyError::new(format!("table {name}"), why);
        let table = table_of(&name).map_err(refuse)?;
        let known = || groups.values().flat_map(|group| &group.tables).map(|table| &**table);
        if !known().any(|known| known == &*table) {
            let meant = suggest::nearest(&table, known());
            let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(refuse(format!("no group has this table{meant}")));
        }
        let (private, allow_secret) = (columns(file.private), columns(file.allow_secret));
        let of_table = TableRules { private: private.map_err(refuse)?, allow_secret: allow_secret.map_err(refuse)? };
        if rules.insert(table, of_table).is_some() {
            return Err(refuse("it has a section already, under another spelling".to_owned()));
        }
    }
    Ok(rules)
}

fn columns(names: Vec<String>) -> Result<BTreeSet<Arc<str>>, String> {
    let mut columns = BTreeSet::new();
    for name in names {
        if !columns.insert(Arc::from(&*name)) {
            return Err(format!("column {name} is named twice"));
        }
    }
    Ok(columns)
}

/// An entity's text is the same in all tables of its group: private in one, it is private in all.
pub(super) fn mark_private_keys(groups: &mut BTreeMap<Arc<str>, Group>, rules: &BTreeMap<Arc<str>, TableRules>) {
    for group in groups.values_mut() {
        let is_private = |table: &Arc<str>| rules.get(table).is_some_and(|r| r.private.contains(&group.entity_key));
        group.is_key_private = group.tables.iter().any(is_private);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DEFAULT, Policy};

    #[test]
    fn what_is_private_is_known_by_table_and_in_keys() {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        assert!(policy.is_private("public.users", "email") && policy.is_private("public.users", "name"));
        assert!(!policy.is_private("public.products", "name") && !policy.is_private("public.users", "created_at"));
        assert_eq!(policy.views["profile"].key.key("7").to_string(), "user:7");
        let text = DEFAULT.replace("private = [", "private = [\"user_id\", ");
        let policy = Policy::parse(&text).expect("a policy");
        assert!(policy.groups["customers"].is_key_private && !policy.groups["catalogue"].is_key_private);
        let key = policy.views["profile"].key.key("7");
        assert_eq!(key.as_str(), "user:7");
        assert!(key.to_string().starts_with("user:private:"), "{key}");
    }
}
