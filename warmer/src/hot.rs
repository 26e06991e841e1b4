//! The role `warmer`: scores in, the hot set out, and what is missing of it filled.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown, retry};
use lockstep_schemas::avro::unframe;
use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::scores::Score;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use lockstep_tiers::Tiers;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tokio::sync::mpsc;

use crate::forecast::INTERVAL;
use crate::select::Scores;
use crate::warm;

const SCORES_WAITING_MAX: usize = 10_000;
/// Scores of one forecast come together: the set is chosen when none came for so long.
const QUIET: Duration = Duration::from_millis(300);
const HOT_SET_DEFAULT: usize = 1_000;
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
    let (send, mut scores) = mpsc::channel(SCORES_WAITING_MAX);
    let (reader_kafka, stop) = (kafka.clone(), shutdown.clone());
    let reader = tokio::spawn(async move {
        let follow = || async {
            let mut tail = Tail::open(&reader_kafka, "scores", topics::SCORES, Begin::Oldest).await?;
            loop {
                let message = tail.next().await?;
                let body = unframe(message.payload().unwrap_or_default()).map(|(_, body)| body);
                match body.and_then(Score::decode) {
                    Ok(score) => drop(send.send(score).await),
                    Err(error) => {
                        tracing::warn!(offset = message.offset(), %error, "a score that can't be used was passed over; the last good set stays")
                    }
                }
            }
            #[expect(unreachable_code, reason = "the type of the attempt")]
            Ok::<(), KafkaError>(())
        };
        tokio::select! {
            _ = retry::until_ok("reading scores", &stop, follow) => {}
            () = stop.cancelled() => {}
        }
    });
    let mut keeper =
        Keeper { view: view.clone(), beneath, tiers, producer, scores: Scores::default(), hot: HashSet::new() };
    tracing::info!("the warmer runs");
    while let Some(score) = next(&mut scores, &shutdown).await {
        keeper.scores.take(score);
        while let Ok(Some(score)) = tokio::time::timeout(QUIET, scores.recv()).await {
            keeper.scores.take(score);
        }
        if let Err(error) = keeper.choose(&shutdown).await {
            tracing::warn!(%error, "the hot set was not announced");
        }
    }
    let _ = reader.await;
    Ok(())
}

async fn next(scores: &mut mpsc::Receiver<Score>, shutdown: &Shutdown) -> Option<Score> {
    tokio::select! {
        score = scores.recv() => score,
        () = shutdown.cancelled() => None,
    }
}

struct Keeper {
    view: Arc<View>,
    beneath: Arc<View>,
    tiers: Tiers,
    producer: FutureProducer,
    scores: Scores,
    hot: HashSet<String>,
}

impl Keeper {
    /// Chooses the set, announces it, and fills who is new in it.
    async fn choose(&mut self, shutdown: &Shutdown) -> Result<(), KafkaError> {
        let age_max = i64::try_from((INTERVAL * 2).as_micros()).unwrap_or(i64::MAX);
        let hottest = self.scores.hottest(self.view.hot_set.unwrap_or(HOT_SET_DEFAULT), age_max);
        let set: HashSet<String> = hottest.iter().cloned().collect();
        if set == self.hot {
            return Ok(());
        }
        let value = serde_json::to_vec(&hottest).unwrap_or_default();
        let record = FutureRecord::to(topics::HOT).partition(0).key(&*self.view.name).payload(&value);
        self.producer.send(record, Timeout::Never).await.map_err(|(error, _)| error)?;
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
                Err(error) => tracing::debug!(%product, %error, "a hot product was not filled; a reader will"),
            }
        }
        tracing::info!(members = set.len(), filled, "the hot set changed");
        self.hot = set;
        Ok(())
    }
}
