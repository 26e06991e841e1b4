//! The engine's start and end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::{Failure, Metrics, Shutdown, retry};
use lockstep_schemas::follower::Follower;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::switched::Switched;
use lockstep_schemas::{brokers, topics};
use lockstep_source::Database;
use lockstep_source::gate::Gate;
use lockstep_source::loader::Loader;
use lockstep_tiers::{Edge, Tiers};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::lag::{self, Reached};
use crate::metrics::EngineMetrics;
use crate::park::Park;
use crate::passes::Passes;
use crate::plan::{Planner, Plans};
use crate::progress;
use crate::pump::Pump;
use crate::refill::Refill;
use crate::shared::Shared;
use crate::sweeper::Sweeper;

const DRAIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Runs the engine until shutdown.
pub async fn run(
    config: &Config,
    policy: &Policy,
    follower: &Follower,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), Failure> {
    let kafka = config.kafka()?.clone();
    let edge_config = config.edge()?;
    let database = Database::connect(config.database()?, "lockstep-engine").await?;
    let loader = Loader::prepare(&database, policy).await?;
    let tiers = Tiers::connect(config, policy, Arc::new(loader)).await?;
    tiers.load_library().await?;
    let Some(()) = topics_exist(&kafka, policy, config.partitions, &shutdown).await? else { return Ok(()) };
    let Some(switched) = Switched::open(&kafka, follower, &shutdown).await else { return Ok(()) };
    let tiers = tiers.following(switched.clone());

    let (gate, gate_task) = Gate::start(database.clone(), shutdown.clone());
    let policy = Arc::new(policy.clone());
    let counted = EngineMetrics::register(metrics);
    let (tasks, reached) = (TaskTracker::new(), Reached::new(counted.repairing.clone()));
    let sweeper = Sweeper::default();
    metrics.register("engine_entries_swept", "Entries below a raised floor that were removed", &sweeper.swept);
    let sweeping = tokio::spawn(sweeper.clone().run(tiers.clone(), policy.clone(), shutdown.clone()));
    let publisher = StatePublisher::open(&kafka, "engine-parked");
    let publisher = publisher.map_err(|error| Failure::configuration("Kafka's settings").because(error))?;
    let park = Park::start(publisher, shutdown.clone());
    metrics.register("engine_records_unreadable", "Records that could not be read, and were parked", &park.unreadable);
    let shared = Arc::new(Shared {
        sweeper,
        park,
        plans: Plans::new(policy.clone()),
        switched,
        metrics: counted.clone(),
        refill: Refill::new(tiers.clone(), policy.clone(), gate.clone(), tasks.clone()),
        policy,
        tiers,
        edge: Edge::new(edge_config)?,
        response_max: edge_config.response_max,
        gate,
        progress: progress::follow(follower),
        registry: LiveRegistry::follow(follower),
        kafka: kafka.clone(),
        asker: Mutex::default(),
        reached: reached.clone(),
        doubts: watch::Sender::new(0),
    });
    let (planner, registry) = (Arc::new(Planner::new(&shared.policy)), shared.registry.clone());
    let passes = Passes::new(&kafka, planner, registry, database, metrics);
    let passing = passes.map(|passes| tokio::spawn(passes.run(shutdown.clone())));
    let watching = tokio::spawn(counted.watch_gate(shared.gate.clone(), shutdown.clone()));
    let lag = tokio::spawn(lag::publish(kafka.clone(), reached, shutdown.clone()));
    let pump = Pump::join(&kafka, shared, Handle::current())?;
    let stop = shutdown.clone();
    let thread = std::thread::Builder::new().name("lockstep-pump".to_owned()).spawn(move || pump.run(&stop));
    let thread = thread.map_err(|error| Failure::internal("starting the pump").because(error))?;
    tracing::info!("the engine runs");
    let ended = tokio::task::spawn_blocking(move || thread.join()).await;
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(DRAIN_WAIT_MAX, tasks.wait()).await.is_err() {
        tracing::warn!("some fills were still under way at the end; their leases run out");
    }
    let _ = tokio::join!(lag, gate_task, sweeping, watching);
    if let Some(passing) = passing {
        let _ = passing.await;
    }
    match ended {
        Ok(Ok(ended)) => ended,
        _ => Err(Failure::internal("the pump's thread panicked")),
    }
}

/// Waits until ingest has created the topics; refuses another partition count.
async fn topics_exist(
    kafka: &KafkaConfig,
    policy: &Policy,
    partitions: u32,
    shutdown: &Shutdown,
) -> Result<Option<()>, Failure> {
    let names: Vec<String> = policy.followed_groups().map(|group| topics::of_group(kafka, &group.name)).collect();
    let look = || async {
        let counts = brokers::partition_counts(kafka, "engine-start").await.map_err(|failure| failure.to_string())?;
        let counts: Option<Vec<usize>> = names.iter().map(|name| counts.get(name).copied()).collect();
        counts.ok_or_else(|| "its topics do not exist yet; ingest creates them".to_owned())
    };
    let Some(counts) = retry::until_ok("looking for the log", shutdown, look).await else { return Ok(None) };
    match counts.iter().find(|count| **count != partitions as usize) {
        None => Ok(Some(())),
        Some(other) => Err(Failure::configuration(format!("the log has {other} partitions a group, not {partitions}"))
            .remedy("configure partitions as ingest has them; another count is another installation")),
    }
}
