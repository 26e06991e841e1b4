//! `[groups.<name>]`: tables that share an entity key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::file::table_of;
use super::{Group, PolicyError};

/// `lockstep.<name>` are topics with another content.
const RESERVED: [&str; 11] =
    ["progress", "schemas", "checkpoint", "hot", "forecast", "grade", "parked", "switches", "audit", "tags", "applied"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupFile {
    entity_key: String,
    tables: Vec<String>,
}

pub(super) fn groups(files: BTreeMap<String, GroupFile>) -> Result<BTreeMap<Arc<str>, Group>, PolicyError> {
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
