//! The engine. For each partition that it owns: gate a batch, fold it, apply it to L2, after L2's ok to L1, after L1's
//! ok purge L3. It starts from the watermark that it finds on the tier, never from a committed offset
//! (docs/protocol.md, [4c]).
//!
//! Decisions are pure (`core`, `plan`, `fold`); `lane` carries them out, `pump` feeds the lanes from Kafka.

pub mod core;
mod fold;
pub mod folded;
mod lag;
mod lane;
mod metrics;
mod park;
mod passes;
mod plan;
mod progress;
mod pump;
mod purge;
mod refill;
mod run;
mod shared;
mod sweeper;

pub use plan::{Effect, EntryAction, NoEntity, Planner, Postponed, Verdict, Views, Why, invalidations, subjects};
pub use run::run;
