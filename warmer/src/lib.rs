//! Forecast and warmer. The forecast learns from the order lines in the log and publishes scores; the warmer reads scores
//! (anybody's), keeps the hot set, and fills what is missing of it, under the same leases as any reader.

pub mod forecast;
pub mod hot;
pub mod warm;

mod incoming;
mod refused;
mod select;
