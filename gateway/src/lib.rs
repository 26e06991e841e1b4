//! The gateway: reads through L1, L2 and the database, leaves fills behind, and serves the CDN as its origin. Every
//! answer says how far its tier has come.

mod answer;
mod begun;
mod behind;
mod hot;
mod metrics;
mod read;
mod routes;
mod run;
mod views;

pub use run::run;
