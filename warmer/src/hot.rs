//! The role `warmer`: scores in, the hot set out, and what is missing of it filled.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::config::Config;
use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::{HotSet, Policy, View};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::state_publisher::StatePublisher;
use lockstep_schemas::topics;
use lockstep_tiers::Tiers;
use rdkafka::error::KafkaError;

use crate::forecast::INTERVAL;
use crate::incoming::Incoming;
use crate::refused::Refusal;
use crate::select::HOT_SET_DEFAULT;
use crate::warm;

/// Scores of one forecast come together: the set is chosen when none came for so long.
const QUIET: Duration = Duration::from_millis(300);
/// Fills a second: a warmer must never be what the database is busy with.
const FILLS_PER_SECOND: u32 = 2_000;
/// Every member is looked at this often, also those that stayed: products are deleted, entries are evicted. What the
/// catalogue did not have is then given another look too.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Products that the catalogue does not have are replaced by the next ones, which may be as unknown: so often.
const CHOICES_MAX: usize = 3;

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
    let publisher = StatePublisher::open(&kafka, "warmer");
    let publisher = publisher.map_err(|error| Failure::unavailable("Kafka").because(error))?;
    let registry = LiveRegistry::follow(kafka.clone(), shutdown.clone());
    let incoming = Incoming::new(i64::try_from((INTERVAL * 2).as_micros()).unwrap_or(i64::MAX));
    let reader = tokio::spawn(Arc::clone(&incoming).follow(kafka, registry, shutdown.clone()));
    let mut keeper = Keeper {
        limit: view.hot_set.map_or(HOT_SET_DEFAULT, HotSet::choice_size),
        view: view.clone(),
        beneath,
        tiers,
        publisher,
        incoming: Arc::clone(&incoming),
        hot: HashSet::new(),
        unknown: HashSet::new(),
        looked: Instant::now(),
    };
    tracing::info!("the warmer runs");
    loop {
        tokio::select! {
            () = incoming.arrived.notified() => {}
            () = shutdown.cancelled() => break,
        }
        let quiet = async { while tokio::time::timeout(QUIET, incoming.arrived.notified()).await.is_ok() {} };
        // Scores that never pause are no reason to wait for ever.
        let _ = tokio::time::timeout(INTERVAL, quiet).await;
        tokio::select! {
            chosen = keeper.choose() => if let Err(error) = chosen {
                tracing::warn!(%error, "the hot set was not announced");
            },
            () = shutdown.cancelled() => break,
        }
    }
    let _ = reader.await;
    Ok(())
}

struct Keeper {
    limit: usize,
    view: Arc<View>,
    beneath: Arc<View>,
    tiers: Tiers,
    publisher: StatePublisher,
    incoming: Arc<Incoming>,
    /// The set as it was announced.
    hot: HashSet<String>,
    /// What the catalogue did not have.
    unknown: HashSet<String>,
    looked: Instant,
}

impl Keeper {
    /// Chooses the set, fills who is new in it, announces it, and parks a word of what could not be used. Where nothing can
    /// be used, the set stays as it is.
    async fn choose(&mut self) -> Result<(), KafkaError> {
        if self.looked.elapsed() >= LOOK_INTERVAL {
            self.looked = Instant::now();
            self.unknown.clear();
            let members: Vec<String> = self.hot.iter().cloned().collect();
            self.fill(&members).await;
        }
        let mut filled = 0;
        let mut hottest = self.hottest();
        for _ in 0..CHOICES_MAX {
            let new: Vec<String> = hottest.iter().filter(|product| !self.hot.contains(*product)).cloned().collect();
            let unknown = self.unknown.len();
            filled += self.fill(&new).await;
            if self.unknown.len() == unknown {
                break;
            }
            hottest = self.hottest();
        }
        let set: HashSet<String> = hottest.iter().cloned().collect();
        if !set.is_empty() && set != self.hot {
            let value = serde_json::to_vec(&hottest).unwrap_or_default();
            self.publisher.publish(topics::HOT, self.view.name.as_bytes(), &value).await?;
            tracing::info!(members = set.len(), filled, "the hot set changed");
            self.hot = set;
        }
        self.park().await
    }

    fn hottest(&self) -> Vec<String> {
        self.incoming.lock().0.hottest(self.limit, &self.unknown)
    }

    /// Fills what is missing, and finds what there is nothing to fill with; how many were filled, or there.
    async fn fill(&mut self, products: &[String]) -> usize {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / FILLS_PER_SECOND);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut filled = 0;
        for product in products {
            pace.tick().await;
            match self.tiers.get_through(&self.view, &self.beneath, product).await {
                Ok(answer) if answer.fields.is_none() => {
                    let (scores, refused) = &mut *self.incoming.lock();
                    refused.add(Refusal::Unknown, scores.offset(product));
                    self.unknown.insert(product.clone());
                }
                Ok(_) => filled += 1,
                Err(error) => {
                    tracing::debug!(key = %self.view.key.key(product), %error, "a hot product was not filled; a reader will")
                }
            }
        }
        filled
    }

    async fn park(&self) -> Result<(), KafkaError> {
        let words = self.incoming.lock().1.take();
        for word in words {
            tracing::warn!(reason = word.reason, cause = %word.cause, remedy = word.remedy, "scores that can't be used were parked");
            self.publisher.publish(topics::PARKED, topics::SCORES.as_bytes(), &word.to_json()).await?;
        }
        Ok(())
    }
}
