//! The role `warmer`: scores in, the hot set out, and what is missing of it filled.

use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::{Failure, Metrics, Shutdown};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::{HotSet, Policy};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::switched::Switched;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_source::history;
use rdkafka::Message as _;
use tokio::time::MissedTickBehavior;

use crate::demand::Asked;
use crate::fill::Filler;
use crate::first;
use crate::forecast::INTERVAL;
use crate::incoming::Incoming;
use crate::keeper::{Keeper, Progress, as_ranked};
use crate::members::Members;
use crate::metrics::WarmerMetrics;
use crate::pages::Pages;
use crate::select::HOT_SET_DEFAULT;
use crate::told::Told;
use crate::warm;

/// Scores of one forecast come together: the set is chosen when none came for so long.
const QUIET: Duration = Duration::from_millis(300);
const TEND_INTERVAL: Duration = Duration::from_secs(1);
/// After a signal, what is under way has so long.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(2);

/// Runs the warmer until shutdown.
pub async fn run(
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let kafka = config.kafka()?.clone();
    let age_max = i64::try_from((INTERVAL * 2).as_micros()).unwrap_or(i64::MAX);
    let incoming = Incoming::new(age_max, Told::new(&kafka));
    let Some(switched) = Switched::open(&kafka, follower, &shutdown).await else { return Ok(()) };
    let mut keeper = keeper(config, policy, metrics, &incoming, switched, &shutdown).await?;
    let registry = LiveRegistry::follow(follower);
    let asked = keeper.asked.clone();
    asked.clone().follow_views(follower);
    let readers = [
        tokio::spawn(Arc::clone(&incoming).follow(kafka.clone(), registry.clone(), shutdown.clone())),
        tokio::spawn(asked.follow_lines(kafka.clone(), config.partitions, registry, shutdown.clone())),
        tokio::spawn(first::run(config.clone(), policy.clone(), shutdown.clone())),
    ];
    tracing::info!("the warmer runs");
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN_WAIT_MAX).await;
    };
    tokio::select! {
        () = keep(&mut keeper, &incoming, &shutdown) => {}
        // What is cut off is a lease that runs out.
        () = late => {}
    }
    for reader in readers {
        let _ = reader.await;
    }
    Ok(())
}

async fn keep(keeper: &mut Keeper, incoming: &Incoming, shutdown: &Shutdown) {
    let mut tick = tokio::time::interval(TEND_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let kept = tokio::select! {
            () = incoming.arrived.notified() => {
                let quiet = async { while tokio::time::timeout(QUIET, incoming.arrived.notified()).await.is_ok() {} };
                // Scores that never pause are no reason to wait for ever.
                let _ = tokio::time::timeout(INTERVAL, quiet).await;
                keeper.choose().await
            }
            _ = tick.tick() => keeper.tend().await,
            () = shutdown.cancelled() => return,
        };
        if let Err(error) = kept {
            tracing::warn!(%error, "the hot set, or how good it is, was not announced");
        }
    }
}

async fn keeper(
    config: &Config,
    policy: &Policy,
    metrics: &Metrics,
    incoming: &Arc<Incoming>,
    switched: Switched,
    shutdown: &Shutdown,
) -> Result<Keeper, Failure> {
    let Some(view) = policy.views.values().find(|view| view.hot_set.is_some() && view.through.is_some()) else {
        return Err(Failure::configuration("the policy has no view with a `hot_set`")
            .remedy("declare one, or leave the role warmer out"));
    };
    let beneath = view.through.as_ref().and_then(|name| policy.views.get(name)).cloned();
    let beneath = beneath.ok_or_else(|| Failure::configuration(format!("view {} goes through nothing", view.name)))?;
    let (tiers, loader) = warm::connect(config, policy, "lockstep-warmer").await?;
    let tiers = tiers.following(switched).within(history::follow(loader.database().clone(), shutdown.clone()));
    let publisher = StatePublisher::open(config.kafka()?, "warmer");
    let hot_set = view.hot_set.unwrap_or(HotSet::Top(HOT_SET_DEFAULT));
    let hot = announced(config.kafka()?, &view.name).await;
    let mut members = Members::new(view.ttl);
    // Until scores come, the last set stays, and is kept warm.
    members.choose(&as_ranked(&hot), Duration::ZERO);
    Ok(Keeper {
        hot_set,
        bytes_max: policy.warming.bytes_max,
        filler: Filler::new(tiers, view.clone(), beneath.clone(), &policy.warming),
        pages: Pages::of(config, policy, view)?,
        publisher: publisher.map_err(|error| Failure::unavailable("Kafka").because(error))?,
        incoming: Arc::clone(incoming),
        asked: Asked::new(hot_set.choice_size()),
        members,
        metrics: WarmerMetrics::register(metrics),
        shutdown: shutdown.clone(),
        hot,
        view: view.clone(),
        beneath,
        loader,
        progress: Progress::new(),
    })
}

/// The set as it was announced last. One that can't be read is announced anew with the first scores.
async fn announced(kafka: &KafkaConfig, view: &str) -> Vec<String> {
    let read = async {
        let mut tail = Tail::open(kafka, "warmer-hot", topics::HOT, Begin::Newest).await.ok()?;
        let message = tail.next_before_end().await.ok().flatten()?;
        serde_json::from_slice(message.payload()?).ok().filter(|_| message.key() == Some(view.as_bytes()))
    };
    read.await.unwrap_or_default()
}
