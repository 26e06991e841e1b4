//! The installation's first hours: each view that the policy marks `warm = true` is filled once, by itself. The topic of
//! switches remembers that it was; killed in the middle, whoever starts next goes on.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown, retry};
use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::switches::{Switch, What};
use lockstep_schemas::{switched, topics};
use lockstep_tiers::{Place, Tiers};
use tokio::time::Instant;

use crate::warm::{Budget, connect, is_warmed_from_the_database, warm};

/// Of what the policy lets the warmer fill a second: the hot set has its own.
const SHARE: u32 = 2;
const WORD_INTERVAL: Duration = Duration::from_secs(10);
const LANES_LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Warms what was never warmed, one view after the other.
pub(crate) async fn run(config: Config, policy: Policy, shutdown: Shutdown) {
    for view in policy.views.values().filter(|view| view.warm && is_warmed_from_the_database(view).is_ok()) {
        let warmed = || once(&config, &policy, view, &shutdown);
        if retry::until_ok("the first warming", &shutdown, warmed).await.is_none() {
            return;
        }
    }
}

async fn once(config: &Config, policy: &Policy, view: &Arc<View>, shutdown: &Shutdown) -> Result<(), Failure> {
    let kafka = config.kafka()?;
    let away = |error| Failure::unavailable("the topic of switches").because(error);
    let switches = switched::read(kafka, "warmer-first").await.map_err(away)?;
    if switches.was_warmed(&view.name) {
        tracing::debug!(view = %view.name, "the first warming was done before");
        return Ok(());
    }
    let publisher = StatePublisher::open(kafka, "warmer-first").map_err(away)?;
    let turn = |on: bool| {
        let what = What::Warming { view: view.name.to_string() };
        let reason = if on { "the installation is new" } else { "done" }.to_owned();
        let (by, at) = ("the warmer".to_owned(), now_micros());
        Switch { what, on, reason, by, at, until: if on { i64::MAX } else { at }, versions: None }
    };
    let publish = async |on: bool| {
        let switch = turn(on);
        let key = switch.what.to_string();
        publisher.publish(topics::SWITCHES, key.as_bytes(), &switch.to_json()).await.map_err(away)
    };
    if !switches.on(now_micros()).any(|switch| switch.what == turn(true).what) {
        publish(true).await?;
    }
    let (tiers, _) = connect(config, policy, "lockstep-first").await?;
    if !lanes_have_begun(&tiers, config.partitions, view, shutdown).await? {
        return Ok(());
    }
    // Where somebody has made the view anew, that version is read.
    let read = switches.versions().get(&*view.name).map_or(0, |versions| versions.read);
    let rate = NonZeroU32::new(policy.warming.entries_per_second / SHARE).unwrap_or(NonZeroU32::MIN);
    tracing::info!(view = %view.name, rate, "the installation is new: the first warming begins");
    let mut next_word = Instant::now() + WORD_INTERVAL;
    let told = |warmed: crate::warm::Warmed| {
        if Instant::now() >= next_word {
            next_word = Instant::now() + WORD_INTERVAL;
            tracing::info!(view = %view.name, looked = warmed.looked, of = warmed.of, "the first warming goes on");
        }
    };
    let warmed = warm(config, policy, &view.at(read), Budget { rate: Some(rate) }, shutdown, told).await?;
    if shutdown.is_cancelled() {
        return Ok(());
    }
    publish(false).await?;
    tracing::info!(view = %view.name, filled = warmed.filled, there = warmed.there, "the first warming is done");
    Ok(())
}

/// Waits until the engine has begun in every partition: what is filled before dies with the first floor. `false`: shutdown.
async fn lanes_have_begun(tiers: &Tiers, partitions: u32, view: &View, shutdown: &Shutdown) -> Result<bool, Failure> {
    let tier = tiers.of(view);
    for partition in 0..partitions {
        let place = Place { group: view.group.clone(), partition };
        while !shutdown.is_cancelled() {
            let mark = tier.watermark(&place).await;
            if mark.map_err(|error| Failure::unavailable(format!("{}: {error}", tier.name.as_str())))?.is_some() {
                break;
            }
            shutdown.run_until_cancelled(tokio::time::sleep(LANES_LOOK_INTERVAL)).await;
        }
    }
    Ok(!shutdown.is_cancelled())
}
