//! Statements tried in a transaction that is rolled back, and the changes that the log would have of them.

mod pairs;

use std::collections::HashSet;
use std::sync::Arc;

use lockstep_schemas::change::Change;
use lockstep_schemas::policy::{Group, Policy};
use lockstep_schemas::table_name::full_name;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::catalog::{self, Table};
use crate::database::{Database, DatabaseError, identifier, required, table, texts_on};

/// Who holds what a statement needs is not waited for longer.
const LOCK_WAIT_MAX_MS: u32 = 2_000;
/// What may stand first: nothing that ends the transaction, and nothing that holds a table alone.
const VERBS: [&str; 6] = ["insert", "update", "delete", "merge", "with", "select"];

/// Why statements could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// Not a statement that changes rows.
    #[error("only INSERT, UPDATE, DELETE and MERGE can be tried, not `{0}`")]
    Verb(String),
    /// The server refuses the statement.
    #[error("the statement: {0}")]
    Statement(DatabaseError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A version of a row: where it lies, and its columns as texts.
struct Version {
    place: String,
    texts: Vec<Option<String>>,
}

/// Others may write the same rows meanwhile; then it is tried again.
const ATTEMPTS_MAX: u32 = 5;
const SERIALIZATION_FAILURE: &str = "40001";

/// Tries statements, and gives the changes of the policy's tables as the log would have them: what each row was, and what
/// it is after all of them. Values that lie outside their row (TOAST) are taken as known.
pub async fn changes(database: &Database, policy: &Policy, sql: &str) -> Result<Vec<Change>, TrialError> {
    for _ in 1..ATTEMPTS_MAX {
        match once(database, policy, sql).await {
            Err(TrialError::Statement(DatabaseError::Sql(error)))
                if error.code().is_some_and(|code| code == SERIALIZATION_FAILURE) => {}
            tried => return tried,
        }
    }
    once(database, policy, sql).await
}

async fn once(database: &Database, policy: &Policy, sql: &str) -> Result<Vec<Change>, TrialError> {
    let mut trial = database.begin().await?;
    let limits =
        format!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SET LOCAL lock_timeout = {LOCK_WAIT_MAX_MS}");
    texts_on(&mut trial, limits.clone()).await?;
    let exported = texts_on(&mut trial, "SELECT pg_export_snapshot()".to_owned()).await?;
    let snapshot = required(exported.first().map_or(&[][..], Vec::as_slice), 0, "a snapshot")?.to_owned();
    for statement in statements(sql) {
        let verb = statement.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if !VERBS.contains(&verb.to_lowercase().as_str()) {
            return Err(TrialError::Verb(verb.to_owned()));
        }
        // As a prepared statement, which is one statement and not two, however it was cut.
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&mut *trial).await;
        done.map_err(|error| TrialError::Statement(error.into()))?;
    }
    // The same moment, without what was tried.
    let mut past = database.begin().await?;
    texts_on(&mut past, format!("{limits}; SET TRANSACTION SNAPSHOT '{}'", snapshot.replace('\'', "''"))).await?;
    let mut changes = Vec::new();
    let written = written(&mut trial).await?;
    for group in policy.groups.values() {
        for name in group.tables.iter().filter(|name| written.as_ref().is_none_or(|written| written.contains(&***name)))
        {
            let found = of_table(database, &mut trial, &mut past, group, name).await?;
            changes.extend(found);
        }
    }
    trial.rollback().await.map_err(DatabaseError::from)?;
    Ok(changes)
}

/// The tables that were written to, perhaps with some more; each of them is read whole. `None`: nobody counts.
async fn written(trial: &mut PgConnection) -> Result<Option<HashSet<String>>, DatabaseError> {
    let sql = "SELECT n.nspname, c.relname, current_setting('track_counts') FROM pg_stat_xact_user_tables s \
        JOIN pg_class c ON c.oid = coalesce(pg_partition_root(s.relid), s.relid) \
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 \
        UNION ALL SELECT '', '', current_setting('track_counts')";
    let mut tables = HashSet::new();
    for row in texts_on(trial, sql.to_owned()).await? {
        if required(&row, 2, "a setting")? != "on" {
            return Ok(None);
        }
        tables.insert(full_name(required(&row, 0, "a schema")?, required(&row, 1, "a table")?));
    }
    Ok(Some(tables))
}

async fn of_table(
    database: &Database,
    trial: &mut PgConnection,
    past: &mut PgConnection,
    group: &Group,
    name: &Arc<str>,
) -> Result<Vec<Change>, DatabaseError> {
    let known = catalog::table(database, name).await?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    // Our transaction's rows have its id, or a later one that its own subtransactions took; others' are not to be seen.
    let ours = "age(xmin) <= age(pg_current_xact_id()::xid)";
    let new = versions(trial, &known, name, ours).await?;
    // A version that was replaced or locked has an xmax. What is still to be seen was locked only.
    let locked: HashSet<String> =
        versions(trial, &known, name, "xmax <> 0").await?.into_iter().map(|version| version.place).collect();
    let mut old = versions(past, &known, name, "xmax <> 0").await?;
    old.retain(|version| !locked.contains(&version.place));
    let primary = catalog::primary_key(database, name).await?;
    Ok(pairs::changes(name, &known, &primary, &group.entity_key, &old, &new))
}

async fn versions(
    connection: &mut PgConnection,
    known: &Table,
    name: &str,
    which: &str,
) -> Result<Vec<Version>, DatabaseError> {
    let columns: Vec<String> = pairs::columns(known).map(|(column, _)| identifier(column)).collect();
    let sql = format!("SELECT tableoid::text || ctid::text, {} FROM {} WHERE {which}", columns.join(", "), table(name));
    let version = |mut row: Vec<Option<String>>| {
        let texts = row.split_off(1);
        Ok(Version { place: required(&row, 0, "a place")?.to_owned(), texts })
    };
    texts_on(connection, sql).await?.into_iter().map(version).collect()
}

/// Statements between semicolons that stand in no quotes. A cut in the wrong place makes a statement that the server refuses.
fn statements(sql: &str) -> Vec<&str> {
    let (mut quote, mut from, mut found) = (None, 0, Vec::new());
    for (at, c) in sql.char_indices() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, ';') => {
                found.push(&sql[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    found.push(&sql[from..]);
    found.into_iter().map(str::trim).filter(|statement| !statement.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons() {
        let sql = "UPDATE a SET b = 'x;''y' ; DELETE FROM \"c;d\";;";
        assert_eq!(statements(sql), ["UPDATE a SET b = 'x;''y'", "DELETE FROM \"c;d\""]);
    }
}
