//! The auditor: an ordinary reader. It reads tiers by plain commands under the documented names, the database by statements
//! of its own, and the edge over HTTP, and judges only what the watermark says must be there. It shares no more with the
//! engine than the vocabulary, so that a mistake there is not repeated here.
//!
//! What is decided is pure (`judge`, `subject`, `findings`); the rest reads.

mod backwards;
mod edge;
mod error;
pub mod findings;
mod full;
pub mod judge;
mod keep;
mod look;
mod metrics;
pub mod nines;
mod nodes;
pub mod notes;
mod pace;
mod parked;
mod recent;
pub mod repair;
mod rows;
mod run;
pub mod shadow;
mod shared;
pub mod stalls;
mod subject;
mod sweep;
pub mod touched;
mod waiting;
mod watch;
mod ways;

pub use error::AuditError;
pub use findings::{Findings, Violation};
pub use full::{Auditor, Scope, Step};
pub use keep::{kept, noted};
pub use run::run;
