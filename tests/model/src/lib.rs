//! The coherence protocol of docs/protocol.md as models of which every reachable state is explored.
//!
//! A model is a state and the atomic steps of its parties; each rule of the protocol is a switch ([`rules::Rule`]). With
//! all rules on, no reachable state breaks a promise; with one off, the explorer tells the shortest way to a state that
//! does. `cargo run --workspace --example explore -- 3a` prints it.

pub mod explore;
pub mod promise;
pub mod rules;

pub mod history;
pub mod tier;

pub mod beginnings;
pub mod edge;
pub mod epochs;
pub mod pipeline;
pub mod slots;
pub mod stamps;
pub mod starvation;

pub mod report;
pub mod scenarios;
