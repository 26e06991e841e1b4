//! `lockstep explain`: what a change would do to which entries and pages, and why, by the engine's own plan.

mod report;

use lockstep_coherence::Planner;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, suggest};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::table_name;
use lockstep_source::database::{identifier, table};
use lockstep_source::trial::{self, TrialError};
use lockstep_source::{Database, DatabaseError};

use crate::cli::{ExplainArgs, OutputFormat};
use crate::output;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &ExplainArgs) -> anyhow::Result<()> {
    let sql = match &args.sql {
        Some(sql) => sql.clone(),
        None => update(policy, args)?,
    };
    let database = Database::connect(config.database()?, "lockstep-explain").await?;
    let changes = trial::changes(&database, policy, &sql).await.map_err(failure)?;
    database.close().await;
    let planner = Planner::new(policy);
    let explained: Vec<_> = changes.iter().map(|change| report::explained(policy, &planner, change)).collect();
    match args.output.output {
        OutputFormat::Json => output::line(&serde_json::to_string(&explained)?),
        OutputFormat::Text => report::lines(&explained).iter().for_each(|line| output::line(line)),
    }
    Ok(())
}

/// The update of an entity's rows in one table.
fn update(policy: &Policy, args: &ExplainArgs) -> Result<String, Failure> {
    let usage = |why: String| Failure::new(FailureKind::Usage, why);
    let (named, key) = (args.table.as_deref().unwrap_or_default(), args.key.as_deref().unwrap_or_default());
    let full = table_name::split(named).map(|(schema, name)| table_name::full_name(&schema, &name));
    let full = full.ok_or_else(|| usage(format!("--table: write `{named}` with its schema: public.{named}")))?;
    let group = policy.group_of(&full).ok_or_else(|| {
        let known = policy.groups.values().flat_map(|group| &group.tables).map(|name| &**name);
        let meant = suggest::nearest(&full, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        usage(format!("--table: no group of the policy has {full}{meant}"))
    })?;
    let entity_key = identifier(&group.entity_key);
    let mut sets = Vec::with_capacity(args.set.len());
    for set in &args.set {
        let (column, value) =
            set.split_once('=').ok_or_else(|| usage("--set: write COLUMN=VALUE, COLUMN=null for a null".to_owned()))?;
        let value = if value == "null" { "NULL".to_owned() } else { untyped(value) };
        sets.push(format!("{} = {value}", identifier(column)));
    }
    if sets.is_empty() {
        sets.push(format!("{entity_key} = {entity_key}"));
    }
    Ok(format!("UPDATE {} SET {} WHERE {entity_key} = {}", table(&full), sets.join(", "), untyped(key)))
}

/// A literal that takes the type of what it stands beside.
fn untyped(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn failure(error: TrialError) -> Failure {
    match error {
        TrialError::Verb(_) => Failure::new(FailureKind::Usage, "can't try this").because(error),
        TrialError::Statement(ref cause) | TrialError::Database(ref cause) if cause.is_forbidden() => {
            Failure::configuration("the database does not let us try this")
                .because(error)
                .remedy("give a LOCKSTEP_DATABASE_URL of a user who may write; what is tried is rolled back")
        }
        TrialError::Statement(DatabaseError::Sql(_)) => {
            Failure::new(FailureKind::Usage, "the database refuses this").because(error)
        }
        error => Failure::unavailable("trying this").because(error),
    }
}
