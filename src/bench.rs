//! Measurements. Each is a distribution, beside a reference taken in the same run: machines are noisy, and absolute
//! times mean little.

mod audit;
mod broker;
mod engine;
mod forecast;
mod ingest;
mod latency;
mod pg_recvlogical;
mod products;
mod table;
mod usage;
mod warmer;

pub(crate) use audit::{AuditArgs, audit};
pub(crate) use engine::{EngineArgs, RecoveryArgs, engine, recovery};
pub(crate) use forecast::{ForecastArgs, forecast};
pub(crate) use ingest::{CountArgs, IngestArgs, ingest};
pub(crate) use latency::{LatencyArgs, latency};
pub(crate) use warmer::{WarmerArgs, warmer};
