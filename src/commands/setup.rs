//! `lockstep setup`: what others must set up for us, with least privilege. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_process::config::{Config, DatabaseConfig};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::table_name::split;
use lockstep_schemas::topics::{self, Topic};
use lockstep_source::database::{identifier, table};
use lockstep_source::preflight::{is_wanted, may_publish, needed_columns, publication_options, published_table};
use lockstep_source::{Database, catalog};

use crate::cli::SetupArgs;
use crate::output;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &SetupArgs) {
    if args.print_sql {
        let known = catalog(config, policy).await;
        sql(&Names::of(config), policy, known.as_ref()).iter().for_each(|line| output::line(line));
    }
    if args.print_kafka {
        kafka(config, policy).iter().for_each(|line| output::line(line));
    }
}

/// Repairs and snapshots are asked for by messages in the log, and by default every role may write such.
const COMMANDS_BY_LOG: [&str; 3] = [
    "-- Any role that may call pg_logical_emit_message can have entries dropped and snapshots made. To keep that to ours, and \
     to those who run Lockstep's commands, where nothing else of yours needs it:",
    "-- REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text), pg_logical_emit_message(boolean, text, bytea) \
     FROM PUBLIC;",
    "-- GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text) TO lockstep_ingest, lockstep_reader;",
];

/// What the configuration calls things.
struct Names {
    /// As the database knows it; none where none is configured.
    database: Option<String>,
    publication: String,
    signal_table: Option<String>,
}

impl Names {
    fn of(config: &Config) -> Self {
        match config.database() {
            Ok(database) => Names {
                database: Some(database.name()),
                publication: database.publication.clone(),
                signal_table: database.signal_table.clone(),
            },
            Err(_) => Names {
                database: None,
                publication: DatabaseConfig::PUBLICATION_DEFAULT.to_owned(),
                signal_table: None,
            },
        }
    }
}

/// The tables as they are, and whether some old row of theirs has columns that the database computes.
struct Known {
    tables: BTreeMap<String, catalog::Table>,
    computes: bool,
}

/// Where the database can be asked: what is published must hold the whole replica identity.
async fn catalog(config: &Config, policy: &Policy) -> Option<Known> {
    let database = Database::connect(config.database().ok()?, "lockstep-setup").await.ok()?;
    let mut tables = BTreeMap::new();
    for name in policy.groups.values().flat_map(|group| &group.tables) {
        tables.insert(name.to_string(), catalog::table(&database, name).await.ok().filter(|table| !table.is_empty())?);
    }
    let names: Vec<&str> = tables.keys().map(String::as_str).collect();
    let computes = !catalog::computed_in_full(&database, &names).await.ok()?.is_empty();
    Some(Known { tables, computes })
}

/// Two roles: `lockstep_ingest` reads the log; `lockstep_reader` (engine, gateway, warmer) reads rows and the epoch.
fn sql(names: &Names, policy: &Policy, known: Option<&Known>) -> Vec<String> {
    let mut lines = vec![
        "-- Run this as the owner of the shop's tables. wal_level must be logical; passwords are yours to set."
            .to_owned(),
        "CREATE SCHEMA IF NOT EXISTS lockstep;".to_owned(),
        "CREATE TABLE IF NOT EXISTS lockstep.epoch (epoch integer PRIMARY KEY CHECK (epoch BETWEEN 1 AND 65534), \
         system_identifier text NOT NULL, timeline text NOT NULL, slot text NOT NULL, reason text NOT NULL, \
         began_at timestamptz NOT NULL DEFAULT now());"
            .to_owned(),
        "CREATE ROLE lockstep_ingest LOGIN REPLICATION;".to_owned(),
        "CREATE ROLE lockstep_reader LOGIN;".to_owned(),
        "GRANT USAGE ON SCHEMA lockstep TO lockstep_ingest, lockstep_reader;".to_owned(),
        "GRANT SELECT, INSERT ON lockstep.epoch TO lockstep_ingest;".to_owned(),
        "GRANT SELECT ON lockstep.epoch TO lockstep_reader;".to_owned(),
        "CREATE TABLE IF NOT EXISTS lockstep.boosts (product_id text NOT NULL, \
         factor double precision NOT NULL DEFAULT 1 CHECK (factor BETWEEN 0 AND 1000000), \
         lines double precision NOT NULL DEFAULT 0 CHECK (lines BETWEEN 0 AND 1000000), \
         begins_at timestamptz NOT NULL DEFAULT now(), ends_at timestamptz NOT NULL CHECK (ends_at > begins_at), \
         PRIMARY KEY (product_id, begins_at));"
            .to_owned(),
        "GRANT SELECT ON lockstep.boosts TO lockstep_reader;".to_owned(),
    ];
    let connect = "TO lockstep_ingest, lockstep_reader;";
    lines.push(match &names.database {
        Some(database) => format!("GRANT CONNECT ON DATABASE {} {connect}", identifier(database)),
        None => format!("-- Where not everybody may: GRANT CONNECT ON DATABASE ... {connect}"),
    });
    let tables = || policy.groups.values().flat_map(|group| &group.tables);
    let schemas: BTreeSet<String> = tables().filter_map(|name| split(name)).map(|(schema, _)| schema.into()).collect();
    for schema in &schemas {
        lines.push(format!("GRANT USAGE ON SCHEMA {} {connect}", identifier(schema)));
    }
    let read = needed_columns(policy);
    for (name, columns) in &read {
        let list: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
        lines.push(format!("GRANT SELECT ({}) ON {} TO lockstep_reader;", list.join(", "), table(name)));
    }
    lines.push("-- For `lockstep snapshot` alone, which reads rows under ingest's role:".to_owned());
    for name in tables() {
        lines.push(remark(&format!("GRANT SELECT ON {} TO lockstep_ingest;", table(name))));
    }
    if known.is_none() {
        lines.push(
            "-- The database could not be asked: add each table's replica identity to its list of columns.".to_owned(),
        );
    }
    lines.push(
        "-- A published table without a replica identity refuses UPDATE and DELETE: give it a primary key, or REPLICA IDENTITY FULL, first."
            .to_owned(),
    );
    let mut published = Vec::new();
    for name in tables() {
        let columns = known.and_then(|known| known.tables.get(&**name));
        let (table, remarks) = publish(policy, name, columns, read.get(&**name).map(Vec::as_slice));
        lines.extend(remarks);
        published.extend(table);
    }
    lines.extend(COMMANDS_BY_LOG.map(str::to_owned));
    // Who may write there may ask for snapshots.
    published.extend(names.signal_table.as_deref().map(table));
    lines.push(format!(
        "CREATE PUBLICATION {} FOR TABLE\n    {}\n    WITH ({});",
        identifier(&names.publication),
        published.join(",\n    "),
        publication_options(known.is_some_and(|known| known.computes))
    ));
    lines
}

/// One line, whatever a name in it holds: a name must not end the comment.
fn remark(text: &str) -> String {
    format!("-- {}", text.replace(char::is_control, " "))
}

/// A table as it is to be published, and what must be said about that. What is called like a secret is left out.
fn publish(
    policy: &Policy,
    name: &str,
    known: Option<&catalog::Table>,
    read: Option<&[&str]>,
) -> (Option<String>, Vec<String>) {
    let may = |column: &str| may_publish(policy, name, column);
    let wanted = |column: &str| is_wanted(policy, name, read, column);
    let needed = read.into_iter().flatten().filter(|column| !may(column));
    let mut remarks: Vec<String> = needed
        .map(|column| {
            remark(&format!("{name}: a view needs column {column}, which is called like a secret and left out"))
        })
        .collect();
    let logged = known.and_then(|known| known.iter().find(|(column, known)| known.logged && !may(column)));
    if let Some((column, _)) = logged {
        remarks.push(remark(&format!(
            "{name} is left out: its replica identity has {column}, which is called like a secret"
        )));
        return (None, remarks);
    }
    if read.is_none() {
        remarks.push(remark(&format!(
            "no view reads {name}, so nothing here says which of its columns others need: all are published"
        )));
    }
    let table = match (known, read) {
        (Some(known), None) if known.keys().all(|column| may(column)) => table(name),
        (Some(known), _) => published_table(name, known, wanted),
        (None, None) => table(name),
        (None, Some(columns)) => {
            let list: Vec<String> =
                columns.iter().filter(|column| may(column)).map(|column| identifier(column)).collect();
            format!("{} ({})", table(name), list.join(", "))
        }
    };
    (Some(table), remarks)
}

fn kafka(config: &Config, policy: &Policy) -> Vec<String> {
    let kafka = config.kafka_names();
    let mut lines =
        vec!["# Topics. With three brokers or more: --replication-factor 3 --config min.insync.replicas=2".to_owned()];
    let groups = policy.groups.keys().map(|name| &**name);
    for spec in topics::all(kafka, groups, config.partitions) {
        let settings: Vec<String> =
            spec.settings.iter().map(|(name, value)| format!("--config {name}={value}")).collect();
        lines.push(format!(
            "kafka-topics --create --topic {} --partitions {} {}",
            spec.name,
            spec.partitions,
            settings.join(" ")
        ));
    }
    lines.push("# ACLs: ingest writes the log and its state; the engine and the rest read it".to_owned());
    let allow = |user: &str, operations: &[&str], resource: &str| {
        let operations: Vec<String> = operations.iter().map(|operation| format!("--operation {operation}")).collect();
        format!("kafka-acls --add --allow-principal User:{user} {} {resource}", operations.join(" "))
    };
    let prefixed = &*format!("--topic {} --resource-pattern-type prefixed", topics::of_group(kafka, ""));
    let own_groups = &*format!("--group {} --resource-pattern-type prefixed", topics::own_name(kafka, ""));
    let topic = |topic: Topic| format!("--topic {}", topic.name(kafka));
    let transaction = |name: &str| format!("--transactional-id {}", topics::own_name(kafka, name));
    lines.push(allow("lockstep-ingest", &["Write", "Read", "Describe", "DescribeConfigs", "Create"], prefixed));
    for theirs in [topics::SCORES, topics::VIEWS] {
        lines.push(allow("lockstep-ingest", &["Create", "Describe", "DescribeConfigs"], &topic(theirs)));
    }
    for user in ["lockstep-engine", "lockstep-gateway", "lockstep-warmer", "lockstep-audit"] {
        lines.push(allow(user, &["Read", "Describe"], prefixed));
    }
    for user in ["lockstep-ingest", "lockstep-engine", "lockstep-gateway", "lockstep-warmer", "lockstep-audit"] {
        // The client asks for its group even where it never joins one.
        lines.push(allow(user, &["Read", "Describe"], own_groups));
    }
    for user in ["lockstep-ingest", "lockstep-engine", "lockstep-warmer", "lockstep-audit"] {
        lines.push(allow(user, &["IdempotentWrite"], "--cluster"));
    }
    lines.push(allow("lockstep-engine", &["Write", "Describe"], &topic(topics::PARKED)));
    lines.push(allow("lockstep-warmer", &["Write", "Describe"], &topic(topics::HOT)));
    lines.push(allow("lockstep-warmer", &["Write", "Read", "Describe"], &topic(topics::SCORES)));
    lines.push(allow("lockstep-gateway", &["Write", "Describe"], &topic(topics::VIEWS)));
    lines.push(allow("lockstep-warmer", &["Read", "Describe"], &topic(topics::VIEWS)));
    for written in [topics::FORECAST, topics::PARKED, topics::GRADE, topics::SWITCHES] {
        lines.push(allow("lockstep-warmer", &["Write", "Describe"], &topic(written)));
    }
    lines.push(allow("lockstep-audit", &["Write", "Describe"], &topic(topics::AUDIT)));
    // Who runs commands: status, check, replay, parked; and turns switches.
    lines.push(allow("lockstep-operator", &["Read", "Describe", "DescribeConfigs"], prefixed));
    lines.push(allow("lockstep-operator", &["Read", "Describe"], own_groups));
    lines.push(allow("lockstep-operator", &["IdempotentWrite"], "--cluster"));
    lines.push(allow("lockstep-operator", &["Write", "Describe"], &topic(topics::SWITCHES)));
    lines.push(allow("lockstep-ingest", &["Write", "Describe"], &transaction("ingest-schemas")));
    lines.push(allow("lockstep-warmer", &["Write", "Describe"], &transaction("forecast")));
    lines
}
