//! Why the auditor could not look.

use lockstep_process::Failure;
use lockstep_source::sql_error::SqlError;
use lockstep_tiers::RedisError;

/// A question that was not answered. Its text holds no value of a row or an entry.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The database or the way to it.
    #[error("the database: {0}")]
    Database(SqlError),
    /// A node of a tier.
    #[error("{node}: {error}")]
    Redis {
        /// Which, by its address.
        node: String,
        /// What it, or its client, said.
        error: RedisError,
    },
    /// The edge.
    #[error("the edge: {0}")]
    Edge(String),
    /// An answer that is not of the form that it must have.
    #[error("{0}")]
    Answer(&'static str),
}

impl From<sqlx::Error> for AuditError {
    fn from(error: sqlx::Error) -> Self {
        AuditError::Database(error.into())
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Failure::unavailable(error).remedy("check that database, tiers and edge run where the configuration says")
    }
}
