//! Compares every cached copy with the database, from outside: plain SCAN, HGETALL, GET and SQL. It shares no code with the
//! engine, so that a mistake there is not repeated here.

/// One Redis tier.
pub mod entries;
/// One entry, pure.
pub mod entry;
/// What was found.
pub mod findings;
/// The edge.
pub mod pages;
/// The database.
pub mod truth;

use crate::demo::caches::{Caches, RedisTier};
use crate::demo::comparer::findings::Findings;
use crate::demo::comparer::truth::Truth;
use crate::demo::output::Output;
use crate::demo::shop::load::{EXTRAS, extra_id};
use anyhow::Result;
use lockstep_schemas::policy::{DEFAULT, Policy};
use sqlx::PgPool;

/// Compares all tiers, from the inside out. The database must be quiet: one reading of it is held against everything, and
/// only what still differs at a second look at both sides is stale.
pub async fn compare(
    caches: &Caches,
    edge: &str,
    http: &reqwest::Client,
    pool: &PgPool,
    output: &Output,
) -> Result<Findings> {
    let truth = Truth::read(pool).await?;
    // What may be told of a copy; the demo's roles have the built-in policy too.
    let policy = Policy::parse(DEFAULT)?;
    let mut findings = Findings::default();
    for tier in [RedisTier::L2, RedisTier::L1] {
        entries::compare(caches, tier, pool, &truth, &policy, output, &mut findings).await?;
    }
    let come_and_go: Vec<String> = (0..EXTRAS).map(extra_id).collect();
    pages::compare((edge, http), pool, &truth, &come_and_go, &policy, output, &mut findings).await?;
    Ok(findings)
}
