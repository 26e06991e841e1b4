//! What the policy says of columns: they must be there, or what was meant to be private would not be.

use lockstep_process::{Failure, suggest};
use lockstep_schemas::policy::Policy;

use super::{Check, away};
use crate::catalog;
use crate::database::Database;

pub(super) async fn check(database: &Database, policy: &Policy) -> Check {
    Check::new("columns that the policy has rules for", find(database, policy).await)
}

async fn find(database: &Database, policy: &Policy) -> Result<String, Failure> {
    let mut private = 0;
    for (table, rules) in &policy.rules {
        let known = catalog::table(database, table).await.map_err(away)?;
        // A table that is not there has a line of its own.
        let named = rules.private.iter().chain(&rules.allow_secret).filter(|_| !known.is_empty());
        if let Some(unknown) = named.into_iter().find(|column| !known.contains_key(&***column)) {
            let meant = suggest::nearest(unknown, known.keys().map(String::as_str));
            let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(Failure::configuration(format!("table {table} has no column {unknown}{meant}"))
                .remedy(format!("correct [tables.\"{table}\"] in the policy")));
        }
        private += rules.private.len();
    }
    Ok(format!("{private} private"))
}
