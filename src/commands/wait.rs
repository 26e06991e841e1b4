//! `lockstep wait`: until a tier has applied everything before an LSN.

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Lsn;
use lockstep_schemas::topics;
use lockstep_source::Database;
use lockstep_tiers::Place;
use tokio::time::Instant;

use super::applied::{behind, position_before};
use super::status::Watermarks;
use crate::cli::WaitArgs;

pub(crate) async fn run(config: &Config, policy: &Policy, args: &WaitArgs) -> anyhow::Result<()> {
    let usage = |why: String| Failure::new(FailureKind::Usage, why);
    let deadline = Instant::now() + args.timeout;
    let lsn: Lsn = args.lsn.parse().map_err(|error| usage(format!("--for: {error}")))?;
    let tier = TierName::INSIDE_OUT.into_iter().find(|tier| tier.as_str() == args.tier);
    let tier = tier.ok_or_else(|| usage(format!("--tier: there is no tier {}", args.tier)))?;
    let database = Database::connect(config.database()?, "lockstep-wait").await?;
    let wanted = position_before(&database, lsn).await?;
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let watermarks = Watermarks::connect(config, policy).await?;
    let followed = policy.followed_groups().filter(|group| policy.tiers_of(&group.name).contains(&tier));
    let places: Vec<Place> = followed
        .flat_map(|group| (0..config.partitions).map(|partition| Place { group: group.name.clone(), partition }))
        .collect();
    if behind(&watermarks, tier, places, wanted, deadline).await?.is_empty() {
        return Ok(());
    }
    let why = format!("{} has not come to {lsn} within {:?}", args.tier, args.timeout);
    Err(Failure::new(FailureKind::NotYet, why).remedy("`lockstep status` shows which partitions are behind").into())
}
