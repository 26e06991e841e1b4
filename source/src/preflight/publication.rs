//! The publication: explicit tables and columns, with all that the policy needs.

use std::collections::BTreeMap;

use lockstep_process::Failure;
use lockstep_process::config::DatabaseConfig;
use lockstep_schemas::policy::{Policy, ViewSource};
use lockstep_schemas::table_name::{full_name, split};

use super::{Check, away, secrets};
use crate::catalog;
use crate::database::{Database, DatabaseError, identifier, literal, required, table};

/// Columns that are named which no view needs.
const SURPLUS_SHOWN: usize = 5;

pub(super) async fn exists(database: &Database, name: &str) -> Result<bool, DatabaseError> {
    let sql = format!("SELECT 1::text FROM pg_publication WHERE pubname = {}", literal(name));
    Ok(!database.texts(sql).await?.is_empty())
}

pub(super) async fn checks(database: &Database, config: &DatabaseConfig, policy: &Policy) -> Vec<Check> {
    let name = &config.publication;
    let mut checks = vec![Check::new(format!("publication {name}"), find(database, name, policy).await)];
    let partitioned = find_partitioned(database, name, policy).await.transpose();
    checks.extend(partitioned.map(|found| Check::new(format!("partitioned tables of publication {name}"), found)));
    checks
}

/// Debezium's signal table, where one is configured: outside the publication nobody hears what is asked there.
pub(super) async fn signal_table(database: &Database, config: &DatabaseConfig) -> Option<Check> {
    let (wanted, name) = (config.signal_table.as_ref()?, &config.publication);
    if split(wanted).is_none() {
        let what = format!("[database] signal_table = {wanted:?} is not of the form schema.table");
        let refused = Failure::configuration(what).remedy(format!("write it with its schema: public.{wanted}"));
        return Some(Check::new(format!("signal table {wanted}"), Err(refused)));
    }
    let found = published(database, name).await.map_err(away).and_then(|published| {
        let Some(columns) = published.get(wanted) else {
            return Err(Failure::configuration(format!("publication {name} does not carry signal table {wanted}"))
                .remedy(format!("run ALTER PUBLICATION {} ADD TABLE {}", identifier(name), table(wanted))));
        };
        match ["id", "type", "data"].into_iter().find(|column| !columns.iter().any(|known| known == column)) {
            None => Ok("published".to_owned()),
            Some(missing) => Err(Failure::configuration(format!("signal table {wanted} has no column {missing}"))
                .remedy("make it with the columns id, type and data, as Debezium's documentation has it")),
        }
    });
    Some(Check::new(format!("signal table {wanted}"), found))
}

/// Without `publish_via_partition_root` their rows come under the partitions' names, which no group has. `None`: there are
/// none, or no publication.
async fn find_partitioned(database: &Database, name: &str, policy: &Policy) -> Result<Option<String>, Failure> {
    let tables = partitioned(database, policy).await.map_err(away)?;
    let Some(first) = tables.first() else { return Ok(None) };
    match via_root(database, name).await.map_err(away)? {
        None => Ok(None),
        Some(true) => Ok(Some(format!("{} published under their own names", tables.len()))),
        Some(false) => Err(Failure::configuration(format!(
            "publication {name} publishes the partitions of {first}, not the table"
        ))
        .remedy(format!("run ALTER PUBLICATION {} SET (publish_via_partition_root = true)", identifier(name)))),
    }
}

async fn partitioned(database: &Database, policy: &Policy) -> Result<Vec<String>, DatabaseError> {
    let names: Vec<&str> = policy.groups.values().flat_map(|group| &group.tables).map(|name| &**name).collect();
    if names.is_empty() { Ok(Vec::new()) } else { catalog::partitioned(database, &names).await }
}

/// Whether partitions are published as their root; `None` where there is no such publication.
async fn via_root(database: &Database, name: &str) -> Result<Option<bool>, DatabaseError> {
    let sql = format!("SELECT pubviaroot::text FROM pg_publication WHERE pubname = {}", literal(name));
    Ok(database.texts(sql).await?.first().map(|row| row[0].as_deref() == Some("true")))
}

async fn find(database: &Database, name: &str, policy: &Policy) -> Result<String, Failure> {
    if !exists(database, name).await.map_err(away)? {
        return Err(Failure::configuration(format!("there is no publication {name}"))
            .remedy("apply what `lockstep setup --print-sql` prints, or let ingest create it"));
    }
    let published = published(database, name).await.map_err(away)?;
    // Without the root's name a partitioned table is not there: that has a line of its own.
    let passed_over = match via_root(database, name).await.map_err(away)? {
        Some(false) => partitioned(database, policy).await.map_err(away)?,
        _ => Vec::new(),
    };
    let (read, tables) = (needed_columns(policy), policy.groups.values().flat_map(|group| &group.tables));
    for full_name in tables.filter(|table| !passed_over.iter().any(|name| **name == ***table)) {
        let Some(columns) = published.get(&**full_name) else {
            let known = catalog::table(database, full_name).await.map_err(away)?;
            let read = read.get(&**full_name).map(Vec::as_slice);
            let wanted = |column: &str| is_wanted(policy, full_name, read, column);
            return Err(Failure::configuration(format!("publication {name} does not carry table {full_name}")).remedy(
                format!(
                    "run ALTER PUBLICATION {} ADD TABLE {}",
                    identifier(name),
                    published_table(full_name, &known, wanted)
                ),
            ));
        };
        let needed = policy.views.values().filter_map(|view| view.source(full_name)).flat_map(ViewSource::reads);
        if let Some(missing) = needed.into_iter().find(|column| !columns.iter().any(|known| **known == ***column)) {
            return Err(Failure::configuration(format!(
                "publication {name} leaves out column {missing} of {full_name}"
            ))
            .remedy("publish it, or take it out of the policy's views"));
        }
    }
    let surplus = surplus(database, policy, &published).await.map_err(away)?;
    Ok(format!("{} tables{surplus}", published.len()))
}

/// Whether a column is to be published, where views read these of its table: it is one of them, or no view reads the table;
/// and it is not called like a secret.
pub fn is_wanted(policy: &Policy, full_name: &str, read: Option<&[&str]>, column: &str) -> bool {
    read.is_none_or(|columns| columns.contains(&column)) && secrets::may_publish(policy, full_name, column)
}

/// What leaves the database although no view needs it, in words.
async fn surplus(
    database: &Database,
    policy: &Policy,
    published: &BTreeMap<String, Vec<String>>,
) -> Result<String, DatabaseError> {
    let mut found = Vec::new();
    for (full_name, read) in needed_columns(policy) {
        let known = catalog::table(database, full_name).await?;
        let is_logged = |column: &String| known.get(column).is_none_or(|known| known.logged);
        let columns = published.get(full_name).into_iter().flatten();
        let surplus = columns.filter(|column| !is_logged(column) && !is_wanted(policy, full_name, Some(&read), column));
        found.extend(surplus.map(|column| format!("{column} of {full_name}")));
    }
    let more = found.len().saturating_sub(SURPLUS_SHOWN);
    found.truncate(SURPLUS_SHOWN);
    Ok(match found.as_slice() {
        [] => String::new(),
        some if more == 0 => format!("; no view needs {}", some.join(", ")),
        some => format!("; no view needs {} and {more} more", some.join(", ")),
    })
}

/// The columns of each published table.
pub(super) async fn published(database: &Database, name: &str) -> Result<BTreeMap<String, Vec<String>>, DatabaseError> {
    let sql = format!(
        "SELECT schemaname, tablename, unnest(attnames)::text FROM pg_publication_tables WHERE pubname = {}",
        literal(name)
    );
    let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in database.texts(sql).await? {
        if let [Some(schema), Some(table), Some(column)] = row.as_slice() {
            tables.entry(full_name(schema, table)).or_default().push(column.clone());
        }
    }
    Ok(tables)
}

/// The published tables, each with the number under which the publication has it: another one, once it was out and came back.
/// 0: it is published with all tables. (The view `pg_publication_tables` would wait for whoever locks one of them.)
pub async fn members(database: &Database, name: &str) -> Result<BTreeMap<String, u32>, DatabaseError> {
    let sql = format!(
        "WITH p AS (SELECT oid, puballtables FROM pg_publication WHERE pubname = {name}), m AS ( \
          SELECT r.prrelid AS relation, r.oid AS number FROM p JOIN pg_publication_rel r ON r.prpubid = p.oid \
          UNION ALL SELECT c.oid, s.oid FROM p JOIN pg_publication_namespace s ON s.pnpubid = p.oid \
           JOIN pg_class c ON c.relnamespace = s.pnnspid \
          UNION ALL SELECT c.oid, 0 FROM p CROSS JOIN pg_class c WHERE p.puballtables) \
         SELECT n.nspname, c.relname, m.number::text FROM m JOIN pg_class c ON c.oid = m.relation \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') ORDER BY m.number DESC",
        name = literal(name)
    );
    let mut members = BTreeMap::new();
    for row in database.texts(sql).await? {
        let text = |at| required(&row, at, "a published table");
        let number = text(2)?;
        let number =
            number.parse().map_err(|_| DatabaseError::Answer { expected: "an oid", answer: number.to_owned() })?;
        // Of a table that is carried twice, the least number stays.
        members.insert(full_name(text(0)?, text(1)?), number);
    }
    Ok(members)
}

/// Whether the publication carries what the database computes and stores.
async fn has_computed(database: &Database, name: &str) -> Result<bool, DatabaseError> {
    // A version that has no such choice has no such column.
    let sql = format!("SELECT to_jsonb(p)->>'pubgencols' FROM pg_publication p WHERE pubname = {}", literal(name));
    Ok(database.texts(sql).await?.first().is_some_and(|row| row[0].as_deref() == Some("s")))
}

/// No published table of these may be one to which the server refuses updates and deletes, for columns that it computes.
pub(super) async fn computed(database: &Database, name: &str, tables: &[&str]) -> Result<(), Failure> {
    let computed = catalog::computed_in_full(database, tables).await.map_err(away)?;
    if let Some((table, _)) = computed.iter().find(|(_, is_never_stored)| *is_never_stored) {
        return Err(never_stored(table));
    }
    let Some((full_name, _)) = computed.first() else { return Ok(()) };
    if has_computed(database, name).await.map_err(away)? {
        return Ok(());
    }
    let what = format!(
        "publication {name} leaves out a generated column of {full_name}, whose replica identity is FULL: the server \
         refuses its updates and deletes"
    );
    Err(Failure::configuration(what)
        .remedy(format!("run ALTER PUBLICATION {} SET (publish_generated_columns = stored)", identifier(name))))
}

fn never_stored(full_name: &str) -> Failure {
    let what = format!(
        "table {full_name} has a virtual generated column, and its replica identity is FULL: the server refuses a \
         published one updates and deletes"
    );
    Failure::configuration(what).remedy(format!(
        "make the column STORED, or run ALTER TABLE {} REPLICA IDENTITY USING INDEX a unique index",
        table(full_name)
    ))
}

/// Creates it, with explicit tables and columns.
pub async fn create(database: &Database, name: &str, policy: &Policy) -> Result<(), Failure> {
    let needed = needed_columns(policy);
    let mut tables = Vec::new();
    for full_name in policy.groups.values().flat_map(|group| &group.tables) {
        let columns = catalog::table(database, full_name).await.map_err(away)?;
        let read = needed.get(&**full_name);
        let wanted = |column: &str| read.is_none_or(|read| read.contains(&column));
        // The identity is published whatever it is called.
        for (name, _) in columns.iter().filter(|(name, column)| column.logged || wanted(name)) {
            secrets::refuse(policy, full_name, name)?;
        }
        tables.push(published_table(full_name, &columns, wanted));
    }
    let names: Vec<&str> = policy.groups.values().flat_map(|group| &group.tables).map(|table| &**table).collect();
    let computed = catalog::computed_in_full(database, &names).await.map_err(away)?;
    // Before there is a publication: with it, the server would refuse the shop its writes.
    if let Some((table, _)) = computed.iter().find(|(_, is_never_stored)| *is_never_stored) {
        return Err(never_stored(table));
    }
    let sql = format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH ({})",
        identifier(name),
        tables.join(", "),
        options(!computed.is_empty())
    );
    let refuse = |error| {
        Failure::configuration(format!("can't create publication {name}"))
            .because(error)
            .remedy("let the tables' owner create it, or grant CREATE on the database and ownership of the tables")
    };
    database.execute(sql).await.map_err(refuse)
}

/// What the policy's views need of each table that they read: the entity key, and their columns. A table that none reads
/// is there for others, of whom nothing is known.
pub fn needed_columns(policy: &Policy) -> BTreeMap<&str, Vec<&str>> {
    let mut tables: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for view in policy.views.values() {
        for source in &view.sources {
            let known = tables.entry(&source.table).or_default();
            let key = &policy.groups[&view.group].entity_key;
            for column in std::iter::once(key).chain(source.reads()) {
                if !known.contains(&&**column) {
                    known.push(column);
                }
            }
        }
    }
    tables
}

/// What a publication of ours says beside its tables. `computes`: some old row has columns that the database computes.
pub fn options(computes: bool) -> &'static str {
    if computes {
        "publish_via_partition_root = true, publish_generated_columns = stored"
    } else {
        "publish_via_partition_root = true"
    }
}

/// A table as a publication names it: with a list of its columns, those of the identity and those that are wanted. Under
/// REPLICA IDENTITY FULL there must be no list, or the server refuses every update.
pub fn published_table(full_name: &str, columns: &catalog::Table, wanted: impl Fn(&str) -> bool) -> String {
    if columns.values().all(|column| column.logged) {
        return table(full_name);
    }
    let chosen = columns.iter().filter(|(name, column)| !column.generated && (column.logged || wanted(name)));
    let chosen: Vec<String> = chosen.map(|(name, _)| identifier(name)).collect();
    format!("{} ({})", table(full_name), chosen.join(", "))
}
