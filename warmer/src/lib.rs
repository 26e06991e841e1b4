//! Forecast and warmer. The forecast learns from the order lines in the log and publishes scores; the warmer reads scores
//! (anybody's), keeps the hot set, and fills what is missing of it, under the same leases as any reader.

pub mod distances;
pub mod forecast;
pub mod history;
pub mod hot;
pub mod lru;
pub mod warm;

mod demand;
mod fill;
mod first;
mod incoming;
mod keeper;
mod members;
mod metrics;
mod pace;
mod pages;
mod refused;
mod select;
mod shop_time;
mod told;
