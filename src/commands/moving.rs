//! `lockstep move`: has another primary of a cluster hold a lane's slot, under load. Where the servers can, the slot goes at
//! one stroke, with all that is in it. Else its floor is raised and what lies below is removed first: then little is left
//! that has to go name by name, while calls on it are answered TRYAGAIN.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_process::config::Config;
use lockstep_process::failure::FailureKind;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::invalidation::{Subject, WHOLE_PARTITION};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::signal::Signal;
use lockstep_schemas::topics;
use lockstep_source::{Database, signals};
use lockstep_tiers::cluster::{Handed, How};
use lockstep_tiers::{Layout, Place, Tier};
use serde_json::json;
use tokio::time::Instant;

use super::applied::{away as database_away, position_before};
use super::placement::{away, lanes, name, open};
use super::status::Watermarks;
use crate::cli::{MoveArgs, OutputFormat};
use crate::{output, roles};

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn run(config: &Config, policy: &Policy, args: &MoveArgs) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    roles::listen_for_signals(shutdown.clone())?;
    topics::insist_on_partitions(config.kafka()?, policy, config.partitions).await?;
    let tier_name = name(args.tier);
    let layout = Layout::new(policy, &config.namespace, config.partitions);
    let slot = layout.slot(&place(policy, config.partitions, &args.lane)?);
    // Another lane may share it: it goes along.
    let all = policy.groups.keys().filter(|group| policy.tiers_of(group).contains(&tier_name));
    let all =
        all.flat_map(|group| (0..config.partitions).map(|partition| Place { group: Arc::clone(group), partition }));
    let places: Vec<Place> = all.filter(|place| layout.slot(place) == slot).collect();
    if places.is_empty() {
        // Whatever lies there is not ours.
        let what = format!("{} has no entries in {}: no view of its group lies there", args.lane, tier_name.as_str());
        return Err(Failure::new(FailureKind::Usage, what)
            .remedy("`lockstep placement` lists the lanes that do")
            .into());
    }
    let began = Instant::now();
    let cluster = open(config, args.tier).await?;
    let way = cluster.way(slot, &args.to).await.map_err(|error| away(tier_name, error))?;
    let how = way.map_err(|why| {
        Failure::new(FailureKind::Usage, why).remedy("`lockstep placement` prints which slot lies where")
    })?;
    let mut removed = 0;
    if how == How::NameByName && !cluster.is_under_way(slot) {
        let watermarks = Watermarks::connect(config, policy).await?;
        let tier = watermarks.of(tier_name);
        raise_floors(config, &layout, tier, &places, args.timeout).await?;
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} emptying the slot: {human_pos} entries ({per_sec})")
        {
            bar.set_style(style);
        }
        let told = |swept| bar.set_position(swept);
        let unlinked = cluster.unlink(tier, slot, &places, args.rate, &shutdown, told).await;
        removed = unlinked.map_err(|error| away(tier_name, error))?;
        bar.finish_and_clear();
    }
    if shutdown.is_cancelled() {
        let stopped =
            Failure::new(FailureKind::NotYet, format!("moving slot {slot} was stopped before it began to go"));
        return Err(stopped.remedy("the same command goes on").into());
    }
    // From here on it is short, and whoever stops in the middle leaves the lane waiting: it is ended.
    let handed = cluster.hand_over(slot, &args.to, how).await.map_err(|error| {
        let away = Failure::unavailable(format!("handing slot {slot} over")).because(error);
        away.remedy("the same command goes on; until then calls on its lanes may be answered TRYAGAIN, and readers go to the database")
    })?;
    report(args, slot, &places, removed, handed, began.elapsed());
    Ok(())
}

/// A lane by its name.
fn place(policy: &Policy, partitions: u32, lane: &str) -> Result<Place, Failure> {
    let found = lane.rsplit_once('.').and_then(|(group, partition)| {
        let (group, _) = policy.groups.get_key_value(group)?;
        let partition = partition.parse::<u32>().ok().filter(|one| *one < partitions)?;
        Some(Place { group: group.clone(), partition })
    });
    found.ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("there is no lane `{lane}`"))
            .remedy("write a group and a partition, e.g. catalogue.3; `lockstep placement` lists them")
    })
}

/// Has the lanes raise their floors, through the log like any change: what lies there is dead from then on.
async fn raise_floors(
    config: &Config,
    layout: &Layout,
    tier: &Tier,
    places: &[Place],
    timeout: Duration,
) -> Result<(), Failure> {
    let database = Database::connect(config.database()?, "lockstep-move").await?;
    // Whatever floor there is later than this is ours, or as good.
    let before = signals::insert_lsn(&database).await.map_err(database_away)?;
    let before = position_before(&database, before).await?;
    let signal = |place: &Place| Signal::Invalidate {
        group: place.group.to_string(),
        subjects: vec![Subject::entity(&somebody_of(layout, place))],
        views: BTreeSet::from([WHOLE_PARTITION.to_owned()]),
    };
    signals::send_all(&database, &places.iter().map(signal).collect::<Vec<_>>()).await.map_err(database_away)?;
    let deadline = Instant::now() + timeout;
    for place in places {
        loop {
            let mark = tier.watermark(place).await.map_err(|error| away(tier.name, error))?;
            if mark.is_some_and(|mark| mark.floor >= before) {
                break;
            }
            if Instant::now() > deadline {
                let why = format!(
                    "the lane {} has not raised its floor within {timeout:?}",
                    lanes(std::slice::from_ref(place))
                );
                return Err(Failure::new(FailureKind::NotYet, why).remedy(
                    "see `lockstep status`: is its engine at work, and of this version? The same command goes on",
                ));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

/// A name that lies in a partition, of nobody.
fn somebody_of(layout: &Layout, place: &Place) -> String {
    let names = (0_u64..).map(|n| format!("~{n}"));
    names.into_iter().find(|name| layout.place(&place.group, name) == *place).unwrap_or_default()
}

fn report(args: &MoveArgs, slot: u16, places: &[Place], removed: u64, handed: Handed, took: Duration) {
    let (seconds, moving) = (took.as_secs_f64(), handed.took.as_secs_f64());
    if args.output.output == OutputFormat::Json {
        let how = match handed.how {
            How::AtOneStroke => "at_one_stroke",
            How::NameByName => "name_by_name",
            How::IsThere => "was_there",
        };
        let told = json!({
            "slot": slot, "to": args.to, "how": how, "removed": removed, "names": handed.names,
            "moving_seconds": moving, "seconds": seconds,
        });
        return output::line(&told.to_string());
    }
    let lanes = lanes(places);
    output::line(&match handed.how {
        How::IsThere => format!("slot {slot} ({lanes}) is at {}", args.to),
        How::AtOneStroke => {
            format!(
                "slot {slot} ({lanes}) went to {} at one stroke, with {} names, in {seconds:.2} s",
                args.to, handed.names
            )
        }
        How::NameByName => format!(
            "slot {slot} ({lanes}) went to {} in {seconds:.2} s: {removed} entries removed, then {} names in {moving:.3} s",
            args.to, handed.names
        ),
    });
}
