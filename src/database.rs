//! The catalogue database's migrations, embedded.

use lockstep_process::Failure;
use lockstep_process::config::Url;
use lockstep_source::database::explain;
use lockstep_source::sql_error::SqlError;
use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Brings the database up to date.
pub(crate) async fn migrate(url: &str) -> anyhow::Result<()> {
    let shown = Url::parse("the database URL", url, &["postgres", "postgresql"])?;
    let mut connection = PgConnection::connect(url).await.map_err(|error| explain(&shown, error))?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| Failure::configuration("a migration failed").because(refusal(error)))?;
    connection.close().await?;
    Ok(())
}

/// A migration meets rows that are there already: its error may quote one.
fn refusal(error: MigrateError) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => SqlError::from(error).into(),
        error => error.into(),
    }
}
