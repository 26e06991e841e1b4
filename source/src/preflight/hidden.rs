//! Row-level security: the log has every row, so a reader from whom some are hidden would make wrong entries.

use lockstep_process::Failure;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::table_name::{full_name, split};

use super::{Check, away};
use crate::database::{Database, DatabaseError, identifier, literal, required};

/// Of tables that our user may read at all.
pub(super) async fn check(database: &Database, policy: &Policy) -> Check {
    Check::new("row-level security of the policy's tables", find(database, policy).await)
}

async fn find(database: &Database, policy: &Policy) -> Result<String, Failure> {
    let tables = policy.groups.values().flat_map(|group| &group.tables);
    let named: Vec<String> = tables
        .filter_map(|name| split(name))
        .map(|(schema, name)| format!("({}, {})", literal(&schema), literal(&name)))
        .collect();
    if named.is_empty() {
        return Ok("hides no rows from us".to_owned());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname, current_user FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE (n.nspname::text, c.relname::text) IN ({}) AND row_security_active(c.oid) \
           AND has_any_column_privilege(c.oid, 'SELECT') ORDER BY 1, 2",
        named.join(", ")
    );
    let rows = database.texts(sql).await.map_err(away)?;
    let (hidden, user) = hidden(&rows).map_err(away)?;
    if hidden.is_empty() {
        return Ok("hides no rows from us".to_owned());
    }
    let what = format!("row-level security hides rows of {} from our user {user}", hidden.join(", "));
    Err(Failure::configuration(what).remedy(format!(
        "run ALTER ROLE {} BYPASSRLS: without it these tables can be neither snapshot nor read for views; a policy that \
         shows all rows is not enough",
        identifier(&user)
    )))
}

/// The tables' names, and our user's.
fn hidden(rows: &[Vec<Option<String>>]) -> Result<(Vec<String>, String), DatabaseError> {
    let name = |row: &Vec<Option<String>>| Ok(full_name(required(row, 0, "a schema")?, required(row, 1, "a table")?));
    let names = rows.iter().map(name).collect::<Result<_, DatabaseError>>()?;
    let user = rows.first().map_or(Ok(""), |row| required(row, 2, "a user"))?;
    Ok((names, user.to_owned()))
}
