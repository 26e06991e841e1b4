//! What a publication could leave out without a word: kinds of changes, rows, columns of a replica identity, and rows of
//! child tables. An entry made of them would be right once, and then stale.

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::table_name::full_name;

use super::{Check, away, publication};
use crate::catalog;
use crate::database::{Database, identifier, literal, required, table};

const KINDS: [&str; 4] = ["insert", "update", "delete", "truncate"];

pub(super) async fn checks(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Vec<Check> {
    let name = &config.publication;
    vec![
        Check::new(format!("kinds of changes in publication {name}"), kinds(database, name).await),
        Check::new(format!("row filters of publication {name}"), row_filters(database, name, policy).await),
        Check::new(format!("replica identities in publication {name}"), identities(database, name, policy).await),
        Check::new("tables that inherit from the policy's tables", children(database, policy).await),
    ]
}

/// All four: `publish = 'insert'` would carry no update.
async fn kinds(database: &Database, name: &str) -> Result<String, Failure> {
    let sql = format!(
        "SELECT pubinsert::text, pubupdate::text, pubdelete::text, pubtruncate::text FROM pg_publication WHERE pubname = {}",
        literal(name)
    );
    let rows = database.texts(sql).await.map_err(away)?;
    let Some(row) = rows.first() else { return Ok("there is no publication yet".to_owned()) };
    let missing: Vec<&str> =
        KINDS.into_iter().zip(row).filter(|(_, is)| is.as_deref() != Some("true")).map(|(kind, _)| kind).collect();
    if missing.is_empty() {
        return Ok(KINDS.join(", "));
    }
    Err(Failure::configuration(format!("publication {name} does not carry every {}", missing.join(", ")))
        .remedy(format!("run ALTER PUBLICATION {} SET (publish = '{}')", identifier(name), KINDS.join(", "))))
}

/// A row that a filter passes over may be in an entry all the same.
async fn row_filters(database: &Database, name: &str, policy: &Policy) -> Result<String, Failure> {
    let sql = format!(
        "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = {} AND rowfilter IS NOT NULL ORDER BY 1, 2",
        literal(name)
    );
    for row in database.texts(sql).await.map_err(away)? {
        let named = || Ok(full_name(required(&row, 0, "a schema")?, required(&row, 1, "a table")?));
        let filtered = named().map_err(away)?;
        if policy.group_of(&filtered).is_some() {
            return Err(Failure::configuration(format!("publication {name} carries only some rows of {filtered}"))
                .remedy(format!(
                    "publish {} without WHERE: ALTER PUBLICATION {} DROP TABLE it, then ADD TABLE it with its columns alone",
                    table(&filtered),
                    identifier(name)
                )));
        }
    }
    Ok("none".to_owned())
}

/// Without a column of its identity the server refuses a table every update and delete, and no record would have its key.
async fn identities(database: &Database, name: &str, policy: &Policy) -> Result<String, Failure> {
    let published = publication::published(database, name).await.map_err(away)?;
    let listed = catalog::listed_though_full(database, name).await.map_err(away)?;
    // A table that is not published at all has a line of its own.
    let of_policy = policy.groups.values().flat_map(|group| &group.tables);
    let of_policy: Vec<(&str, &Vec<String>)> =
        of_policy.filter_map(|name| Some((&**name, published.get(&**name)?))).collect();
    for (full_name, columns) in &of_policy {
        let full_name = *full_name;
        if listed.iter().any(|table| table == full_name) {
            let what = format!("publication {name} has a column list for {full_name}, whose replica identity is FULL");
            return Err(Failure::configuration(what).remedy(format!(
                "the server refuses its updates and deletes; run {}",
                add_again(name, full_name, None)
            )));
        }
        let known = catalog::table(database, full_name).await.map_err(away)?;
        let mut needed = known.iter().filter(|(_, about)| about.logged && !about.generated).map(|(column, _)| column);
        if let Some(missing) = needed.find(|column| !columns.contains(column)) {
            let what = format!(
                "publication {name} leaves out column {missing} of {full_name}, a part of its replica identity"
            );
            let whole =
                known.iter().filter(|(column, about)| !about.generated && (about.logged || columns.contains(column)));
            let whole: Vec<String> = whole.map(|(column, _)| identifier(column)).collect();
            return Err(Failure::configuration(what).remedy(format!(
                "the server refuses its updates and deletes; run {}",
                add_again(name, full_name, Some(&whole.join(", ")))
            )));
        }
    }
    let names: Vec<&str> = of_policy.iter().map(|(name, _)| *name).collect();
    publication::computed(database, name, &names).await?;
    Ok("whole".to_owned())
}

/// The list of a table that is published already can't be changed by itself.
fn add_again(publication: &str, full_name: &str, columns: Option<&str>) -> String {
    let (publication, table) = (identifier(publication), table(full_name));
    let columns = columns.map(|columns| format!(" ({columns})")).unwrap_or_default();
    format!(
        "ALTER PUBLICATION {publication} DROP TABLE {table}; ALTER PUBLICATION {publication} ADD TABLE {table}{columns}"
    )
}

/// A query of the parent reads the rows of its children, but their changes come under the children's own names.
async fn children(database: &Database, policy: &Policy) -> Result<String, Failure> {
    let names: Vec<&str> = policy.groups.values().flat_map(|group| &group.tables).map(|name| &**name).collect();
    let children =
        if names.is_empty() { Vec::new() } else { catalog::children(database, &names).await.map_err(away)? };
    let Some((parent, child)) = children.first() else { return Ok("none".to_owned()) };
    Err(Failure::configuration(format!("table {child} inherits from {parent}: its rows are read, its changes are not"))
        .remedy(format!(
            "run ALTER TABLE {} NO INHERIT {}, or make {parent} a partitioned table",
            table(child),
            table(parent)
        )))
}
