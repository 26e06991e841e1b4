//! What a view demands of its tables beyond the entity key: old values in the log, for keys, names of rows and tests.

use lockstep_process::Failure;
use lockstep_schemas::policy::{Policy, TierName, View, ViewSource};

use super::{Check, away};
use crate::catalog::{self, Table};
use crate::database::{Database, identifier, table};

/// `None`: the view demands nothing more.
pub(super) async fn check(database: &Database, policy: &Policy, view: &View) -> Option<Check> {
    let what = format!("old values that view {} needs", view.name);
    let mut needed = 0;
    for source in &view.sources {
        let (columns, compared) = (named(view, source), compared(source));
        if columns.is_empty() && compared.is_none() {
            continue;
        }
        needed += columns.len() + usize::from(compared.is_some());
        if let Err(failure) = find(database, policy, view, source, &columns).await {
            return Some(Check::new(what, Err(failure)));
        }
    }
    (needed > 0).then(|| Check::new(what, Ok("in the log".to_owned())))
}

/// Columns whose change makes another key, or another field.
fn named<'v>(view: &'v View, source: &'v ViewSource) -> Vec<&'v str> {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let others = pattern.into_iter().flat_map(|pattern| pattern.others());
    others.chain(source.rows.as_ref().map(|rows| &rows.column)).map(|column| &**column).collect()
}

/// What old and new row are compared for, column by column, in words; `None`: for nothing.
fn compared(source: &ViewSource) -> Option<String> {
    let deferred = source.deferred.as_ref().filter(|deferred| !deferred.prompt.is_empty());
    match (&source.when, deferred) {
        (Some(when), _) => Some(format!("that `{when}` tests")),
        (None, Some(deferred)) => {
            let others = deferred.prompt.join(", ");
            Some(format!("which tell that {} changed alone, and {others} did not", deferred.columns.join(", ")))
        }
        (None, None) => None,
    }
}

async fn find(
    database: &Database,
    policy: &Policy,
    view: &View,
    source: &ViewSource,
    columns: &[&str],
) -> Result<(), Failure> {
    let known = catalog::table(database, &source.table).await.map_err(away)?;
    // A table or a column that is not there has a line of its own.
    let lacks = |column: &&&str| known.get(**column).is_some_and(|column| !column.identity);
    let entity_key = &*policy.groups[&view.group].entity_key;
    if let Some(column) = columns.iter().find(lacks) {
        return Err(not_in_identity(source, entity_key, column));
    }
    if let Some(compared) = compared(source) {
        whole(source, &known, &compared)?;
    }
    let Some(rows) = &source.rows else { return Ok(()) };
    let pair = [entity_key, &*rows.column];
    if known.is_empty() || catalog::is_unique(database, &source.table, &pair).await.map_err(away)? {
        return Ok(());
    }
    let column = &rows.column;
    Err(Failure::configuration(format!(
        "table {}: two rows of one {entity_key} may have the same {column}, and would be one field of view {}",
        source.table, view.name
    ))
    .remedy(format!(
        "run CREATE UNIQUE INDEX ON {} ({}, {}), or name the rows by another column",
        table(&source.table),
        identifier(entity_key),
        identifier(column)
    )))
}

/// A change of it would leave behind what was made of the old value.
fn not_in_identity(source: &ViewSource, entity_key: &str, column: &str) -> Failure {
    let quoted = table(&source.table);
    Failure::configuration(format!("table {}: the replica identity does not contain {column}", source.table)).remedy(format!(
        "run ALTER TABLE {quoted} REPLICA IDENTITY USING INDEX a unique index that contains {entity_key} and {column}, or FULL \
         (and then publish the table without a column list)"
    ))
}

/// A column of an index makes each of its changes a delete and an insert, which concern every view: there a test would
/// never be asked. Without old values nothing would ever be deferred.
fn whole(source: &ViewSource, known: &Table, compared: &str) -> Result<(), Failure> {
    if known.values().filter(|column| !column.generated).all(|column| column.identity) {
        return Ok(());
    }
    let quoted = table(&source.table);
    Err(Failure::configuration(format!(
        "table {}: the log does not have the old values {compared}",
        source.table
    ))
    .remedy(match source.when {
        Some(_) => format!("run ALTER TABLE {quoted} REPLICA IDENTITY FULL, and publish the table without a column list"),
        None => format!(
            "keep the deferred columns in a table of their own, or run ALTER TABLE {quoted} REPLICA IDENTITY FULL and publish \
             the table without a column list"
        ),
    }))
}
