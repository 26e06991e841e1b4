//! The program as an operator meets it: what is wrong is said in one line that names the remedy, with an exit code that
//! says whose turn it is; what runs tells how far it has come, and ends when it is told to.
//!
//! | exit code | what it says |
//! |---|---|
//! | 0 | fine |
//! | 64 | called wrongly |
//! | 69 | a service is away |
//! | 70 | our fault |
//! | 74 | the result could not be written |
//! | 75 | not yet |
//! | 78 | configured wrongly |

#[path = "operation/anew.rs"]
mod anew;
#[path = "operation/case.rs"]
mod case;
#[path = "operation/chain.rs"]
mod chain;
#[path = "operation/demands.rs"]
mod demands;
#[path = "operation/detached.rs"]
mod detached;
#[path = "operation/elsewhere.rs"]
mod elsewhere;
#[path = "operation/forecast.rs"]
mod forecast;
#[path = "operation/groups.rs"]
mod groups;
mod harness;
#[path = "operation/publications.rs"]
mod publications;
#[path = "operation/refusals.rs"]
mod refusals;
#[path = "operation/server.rs"]
mod server;
#[path = "operation/shop.rs"]
mod shop;
#[path = "operation/sleeper.rs"]
mod sleeper;
#[path = "operation/slots.rs"]
mod slots;
#[path = "operation/snapshots.rs"]
mod snapshots;
#[path = "operation/standby.rs"]
mod standby;
#[path = "operation/topics.rs"]
mod topics;
