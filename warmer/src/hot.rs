//! The role `warmer`: scores in, the hot set out, and what is missing of it filled.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::avro::unframe;
use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::scores::Score;
use lockstep_schemas::tail::{self, Begin};
use lockstep_schemas::topics;
use lockstep_tiers::Tiers;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::sync::Notify;

use crate::forecast::INTERVAL;
use crate::select::{HOT_SET_DEFAULT, Scores};
use crate::warm;

/// Scores of one forecast come together: the set is chosen when none came for so long.
const QUIET: Duration = Duration::from_millis(300);
/// Fills a second: a warmer must never be what the database is busy with.
const FILLS_PER_SECOND: u32 = 2_000;

/// Runs the warmer until shutdown.
pub async fn run(config: &Config, policy: &Policy, shutdown: Shutdown) -> Result<(), Failure> {
    let Some(view) = policy.views.values().find(|view| view.hot_set.is_some() && view.through.is_some()) else {
        return Err(Failure::configuration("the policy has no view with a `hot_set`")
            .remedy("declare one, or leave the role warmer out"));
    };
    let beneath = view.through.as_ref().and_then(|name| policy.views.get(name)).cloned();
    let beneath = beneath.ok_or_else(|| Failure::configuration(format!("view {} goes through nothing", view.name)))?;
    let kafka = config.kafka()?.clone();
    let tiers = warm::connect(config, policy, "lockstep-warmer").await?;
    let producer: FutureProducer =
        topics::producer(&kafka, "warmer").create().map_err(|error| Failure::unavailable("Kafka").because(error))?;
    let (scores, arrived) = (Arc::new(Mutex::new(Scores::default())), Arc::new(Notify::new()));
    let reader = tokio::spawn(read_scores(kafka, Arc::clone(&scores), Arc::clone(&arrived), shutdown.clone()));
    let mut keeper = Keeper { view: view.clone(), beneath, tiers, producer, scores, hot: HashSet::new() };
    tracing::info!("the warmer runs");
    loop {
        tokio::select! {
            () = arrived.notified() => {}
            () = shutdown.cancelled() => break,
        }
        let quiet = async { while tokio::time::timeout(QUIET, arrived.notified()).await.is_ok() {} };
        // Scores that never pause are no reason to wait for ever.
        let _ = tokio::time::timeout(INTERVAL, quiet).await;
        if let Err(error) = keeper.choose(&shutdown).await {
            tracing::warn!(%error, "the hot set was not announced");
        }
    }
    let _ = reader.await;
    Ok(())
}

async fn read_scores(kafka: KafkaConfig, scores: Arc<Mutex<Scores>>, arrived: Arc<Notify>, shutdown: Shutdown) {
    let take = |message: OwnedMessage| {
        let body = unframe(message.payload().unwrap_or_default()).map(|(_, body)| body);
        match body.and_then(Score::decode) {
            Ok(score) => {
                scores.lock().unwrap_or_else(PoisonError::into_inner).take(score);
                arrived.notify_one();
            }
            Err(error) => {
                tracing::warn!(offset = message.offset(), %error, "a score that can't be used was passed over");
            }
        }
    };
    tail::follow(kafka, "scores", topics::SCORES, Begin::Oldest, shutdown, take).await;
}

struct Keeper {
    view: Arc<View>,
    beneath: Arc<View>,
    tiers: Tiers,
    producer: FutureProducer,
    scores: Arc<Mutex<Scores>>,
    hot: HashSet<String>,
}

impl Keeper {
    /// Chooses the set, announces it, and fills who is new in it.
    async fn choose(&mut self, shutdown: &Shutdown) -> Result<(), KafkaError> {
        let age_max = i64::try_from((INTERVAL * 2).as_micros()).unwrap_or(i64::MAX);
        let limit = self.view.hot_set.unwrap_or(HOT_SET_DEFAULT);
        let hottest = self.scores.lock().unwrap_or_else(PoisonError::into_inner).hottest(limit, age_max);
        let set: HashSet<String> = hottest.iter().cloned().collect();
        if set == self.hot {
            return Ok(());
        }
        let value = serde_json::to_vec(&hottest).unwrap_or_default();
        let record = FutureRecord::to(topics::HOT).partition(0).key(&*self.view.name).payload(&value);
        tokio::select! {
            sent = self.producer.send(record, Timeout::Never) => {
                sent.map_err(|(error, _)| error)?;
            }
            () = shutdown.cancelled() => return Ok(()),
        }
        let mut pace = tokio::time::interval(Duration::from_secs(1) / FILLS_PER_SECOND);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut filled = 0;
        for product in hottest.iter().filter(|product| !self.hot.contains(*product)) {
            tokio::select! {
                _ = pace.tick() => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            match self.tiers.get_through(&self.view, &self.beneath, product).await {
                Ok(_) => filled += 1,
                Err(error) => {
                    tracing::debug!(key = %self.view.key.key(product), %error, "a hot product was not filled; a reader will")
                }
            }
        }
        tracing::info!(members = set.len(), filled, "the hot set changed");
        self.hot = set;
        Ok(())
    }
}
