//! The tables: their replica identities, and the columns that views read.

use lockstep_process::Failure;
use lockstep_schemas::policy::{Group, View};

use super::{Check, away};
use crate::catalog;
use crate::database::{Database, identifier, table};

/// The identity must contain the entity key, or the log could not say whose row was deleted (docs/replica-identity.md).
pub(super) async fn identity(database: &Database, group: &Group, name: &str) -> Check {
    Check::new(format!("replica identity of {name}"), find_identity(database, group, name).await)
}

async fn find_identity(database: &Database, group: &Group, name: &str) -> Result<String, Failure> {
    let columns = catalog::table(database, name).await.map_err(away)?;
    if columns.is_empty() {
        return Err(Failure::configuration(format!("group {}: there is no table {name}", group.name))
            .remedy("run `lockstep migrate` for the demo shop's tables, or correct the policy"));
    }
    let key = &*group.entity_key;
    let Some(column) = columns.get(key) else {
        return Err(Failure::configuration(format!(
            "table {name} has no column {key}, the entity key of group {}",
            group.name
        ))
        .remedy("add the column, or put the table into another group"));
    };
    if column.identity {
        let identity: Vec<&str> = columns.iter().filter(|(_, c)| c.identity).map(|(name, _)| name.as_str()).collect();
        return Ok(identity.join(", "));
    }
    let (quoted, key) = (column.lacking.clone().unwrap_or_else(|| table(name)), identifier(key));
    let of = column.lacking.as_ref().map(|partition| format!(" of partition {partition}")).unwrap_or_default();
    Err(Failure::configuration(format!("table {name}: the replica identity{of} does not contain {key}")).remedy(format!(
        "run ALTER TABLE {quoted} REPLICA IDENTITY USING INDEX a unique index that contains {key}, or FULL (and then publish \
         the table without a column list)"
    )))
}

/// Every column of a view must exist.
pub(super) async fn columns(database: &Database, view: &View) -> Check {
    let mut found = Ok(format!("{} columns", view.sources.iter().map(|source| source.columns.len()).sum::<usize>()));
    for source in &view.sources {
        let known = match catalog::table(database, &source.table).await {
            Ok(known) => known,
            Err(error) => return Check::new(format!("columns of view {}", view.name), Err(away(error))),
        };
        if let Some(computed) = source.reads().find(|column| known.get(&***column).is_some_and(|c| c.generated)) {
            found = Err(Failure::configuration(format!(
                "column {computed} of {} is generated, and so never in the log",
                source.table
            ))
            .remedy("take it out of the view, and compute it where it is read"));
        }
        if let Some(missing) = source.reads().find(|column| !known.contains_key(&***column)) {
            found = Err(Failure::configuration(format!("table {} has no column {missing}", source.table))
                .remedy("migrate the database, or correct the policy"));
        }
    }
    Check::new(format!("columns of view {}", view.name), found)
}
