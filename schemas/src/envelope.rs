//! A change as a record: Debezium's envelope, in Avro (docs/envelope.md).

mod decode;
mod encode;

pub use decode::{EnvelopeError, EnvelopePlan};
pub use encode::{Datum, RecordTable, Stamp, TableColumn};
