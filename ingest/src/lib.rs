//! Ingest: PostgreSQL's log to Kafka. It is the only writer of a group's topic.
//!
//! The log is read through a replication slot and published as Debezium envelopes (docs/envelope.md), each change to
//! the partition of its entity. PostgreSQL is told that it may forget a commit only when Kafka has acknowledged every
//! row of it.

mod control;
mod count;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod ledger;
mod members;
mod metrics;
mod pgoutput;
mod progress;
mod publisher;
mod records;
mod snapshot;
mod standby;
mod start;
mod stream;
mod tables;
mod topics;
mod transport;
mod watch;

pub use count::count_rows;
pub use standby::STANDBY_APPLICATION;
pub use start::{run, slot_check};
pub use topics::checks as topic_checks;
