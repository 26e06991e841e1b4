//! The vocabulary of Lockstep: what every other crate means by a position, a change, a key, a view, and how these look
//! on the wire. Nothing here asks a database or a cache; the only outside system is Kafka, for the two topics that are
//! themselves vocabulary (schemas and progress).

pub mod avro;
pub mod brokers;
pub mod change;
pub mod column;
pub mod control;
pub mod entry;
pub mod envelope;
pub mod follower;
pub mod grade;
pub mod hearing;
pub mod history;
pub mod invalidation;
pub mod key;
pub mod parked;
pub mod partition;
pub mod policy;
pub mod polled;
pub mod position;
pub mod progress;
pub mod record;
pub mod registry;
pub mod scores;
pub mod shown;
pub mod signal;
pub mod snapshot;
pub mod sole_writer;
pub mod state_publisher;
pub mod switched;
pub mod switches;
pub mod table_name;
pub mod tail;
pub mod topics;
pub mod versions;
pub mod views;
