//! `lockstep wait`: until a tier has applied everything before an LSN.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_source::{Database, epoch};
use lockstep_tiers::Place;

use super::status::Watermarks;
use crate::cli::WaitArgs;

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn run(config: &Config, policy: &Policy, args: &WaitArgs) -> anyhow::Result<()> {
    let usage = |why: String| Failure::new(FailureKind::Usage, why);
    let lsn: Lsn = args.lsn.parse().map_err(|error| usage(format!("--for: {error}")))?;
    let tier = TierName::INSIDE_OUT.into_iter().find(|tier| tier.as_str() == args.tier);
    let tier = tier.ok_or_else(|| usage(format!("--tier: there is no tier {}", args.tier)))?;
    let database = Database::connect(config.database()?, "lockstep-wait").await?;
    let current =
        epoch::current(&database).await.map_err(|error| Failure::unavailable("the database").because(error))?;
    let current = current.ok_or_else(|| {
        Failure::new(FailureKind::NotYet, "no epoch has begun").remedy("start ingest: lockstep run --role ingest")
    })?;
    let wanted = Position::before(current.number, lsn);
    let watermarks = Watermarks::connect(config, policy).await?;
    let followed = policy.followed_groups().filter(|group| policy.tiers_of(&group.name).contains(&tier));
    let mut behind: Vec<Place> = followed
        .flat_map(|group| (0..config.partitions).map(|partition| Place { group: group.name.clone(), partition }))
        .collect();
    let look = async {
        loop {
            let mut still = Vec::new();
            for place in behind.drain(..) {
                let reached = watermarks.read(tier, &place).await?;
                if reached.is_none_or(|reached| reached.position < wanted) {
                    still.push(place);
                }
            }
            behind = still;
            if behind.is_empty() {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    match tokio::time::timeout(args.timeout, look).await {
        Ok(done) => Ok(done?),
        Err(_) => {
            let why = format!("{} has not come to {lsn} within {:?}", args.tier, args.timeout);
            Err(Failure::new(FailureKind::NotYet, why)
                .remedy("`lockstep status` shows which partitions are behind")
                .into())
        }
    }
}
