//! Measurements. Each is a distribution, beside a reference taken in the same run: machines are noisy, and absolute
//! times mean little.

mod broker;
mod ingest;
mod latency;
mod table;

pub(crate) use ingest::{CountArgs, IngestArgs, ingest};
pub(crate) use latency::{LatencyArgs, latency};
