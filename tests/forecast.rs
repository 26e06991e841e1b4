//! The role `forecast` between a real database's log and a real Kafka: killed in the middle, it neither forgets a line nor
//! counts one twice.

#[path = "forecast/beside_lru.rs"]
mod beside_lru;
#[path = "forecast/boosts.rs"]
mod boosts;
#[path = "forecast/feeds.rs"]
mod feeds;
#[path = "forecast/graded.rs"]
mod graded;
mod harness;
#[path = "forecast/kills.rs"]
mod kills;
#[path = "forecast/quiet.rs"]
mod quiet;
#[path = "forecast/shop.rs"]
mod shop;
#[path = "forecast/warms.rs"]
mod warms;
