//! All that asks the database: whether a change is visible (the gate), what an entity is now (the loader), whether the
//! database is set up as it must be (preflight), and which history it is (the epoch).
//!
//! Statements are sent as simple queries: they return PostgreSQL's own text, the same that the log carries, and
//! nothing is prepared, so that a pooler in transaction mode will do (it must pass our start-up settings on).

pub mod boosts;
pub mod catalog;
pub mod chunk;
pub mod database;
pub mod epoch;
pub mod gate;
pub mod history;
pub mod loader;
mod log_end;
pub mod preflight;
pub mod signals;
pub mod snapshot;
pub mod sql_error;
pub mod trial;
pub mod writers;

pub use database::{Database, DatabaseError};
pub use log_end::log_end;
