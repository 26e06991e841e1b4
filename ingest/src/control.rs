//! Control events, broadcast to every partition of a group.

use lockstep_schemas::control::Control;
use lockstep_schemas::topics::CONTROL_HEADER;

use crate::publisher::{Purpose, Record};

/// A control event as the record for one partition.
pub(crate) fn record<'a>(
    topic: &'a str,
    partition: i32,
    value: &'a [u8],
    headers: &'a [(&'a str, &'a [u8])],
    purpose: Purpose,
) -> Record<'a> {
    Record { topic, partition, key: None, value: Some(value), headers, purpose }
}

/// The header that tells a control event from a change.
pub(crate) fn header(control: &Control) -> [(&'static str, &'static [u8]); 1] {
    [(CONTROL_HEADER, control.kind.name().as_bytes())]
}
