//! All that speaks to a cache. The rules by which entries change live in `lockstep.lua`, one function a rule's home;
//! this crate calls them, and knows how keys are laid out on a tier of one node and on a cluster.

pub mod call;
pub mod cluster;
pub mod edge;
pub mod layout;
mod library;
mod link;
mod measure;
pub mod redis_error;
pub mod reply;
mod sweep;
pub mod through;
pub mod tier;
mod tier_error;
pub mod twin;
mod versions;
mod whole;

pub use edge::{Edge, EdgeError, Seen, WARMING_HEADER};
pub use layout::{Layout, Place};
pub use measure::Account;
pub use redis_error::RedisError;
pub use sweep::{Swept, sweep};
pub use through::{Answer, AnsweredBy, Kept, Tiers};
pub use tier::{
    Action, Applied, Apply, Claims, Fill, Filled, Found, Hit, LEASE, Lease, Look, Mark, Outward, Read, Tier, Watermark,
};
pub use tier_error::TierError;
pub use versions::Installed;
