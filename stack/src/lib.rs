//! A private stack of the servers that Lockstep works with, for the demo, the tests and the benches.
//!
//! PostgreSQL, Kafka, Redis (L2), a Redis Cluster (L1) and Varnish (the edge) listen on free ports of 127.0.0.1 and
//! keep all they write in one private folder, beside whatever else runs on the machine. [`Stack::start`] returns when
//! all of them serve; dropping the [`Stack`] ends them, and so does the end of the process, by whatever cause.
//! [`detached`] keeps a stack running in the background.
//!
//! The gateway is not part of a stack: its port is reserved, and the edge looks for it there.

#![allow(clippy::disallowed_methods, reason = "no runtime here: a thread may sleep")]

mod certificates;
pub mod detached;
mod endpoints;
mod error;
mod folder;
mod identity;
mod kafka;
mod options;
mod part;
mod ports;
mod postgres;
mod probe;
mod process;
mod programs;
mod redis;
mod site;
mod spawn;
mod stack;
mod sys;
mod varnish;

pub use crate::endpoints::Endpoints;
pub use crate::error::{Failed, StackError};
pub use crate::options::{L1_NODES, L2_NODES, PostgresVersion, RedisVersion, Secured, Service, Services, StackOptions};
pub use crate::stack::Stack;
pub use crate::sys::die_with_parent;
