//! What all lanes of a process share, and how the log and the database look at a moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Lsn;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::switched::Switched;
use lockstep_schemas::topics;
use lockstep_source::gate::Gate;
use lockstep_tiers::{Edge, Tier, Tiers};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::sync::watch;

use crate::core::event::Look;
use crate::lag::Reached;
use crate::metrics::EngineMetrics;
use crate::park::Park;
use crate::plan::Plans;
use crate::refill::Refill;
use crate::sweeper::Sweeper;

const ENDS_WAIT_MAX: Duration = Duration::from_secs(10);

/// What all lanes share.
pub(crate) struct Shared {
    pub policy: Arc<Policy>,
    pub plans: Plans,
    pub tiers: Tiers,
    pub edge: Edge,
    pub response_max: Duration,
    pub gate: Gate,
    pub progress: watch::Receiver<Option<Progress>>,
    pub registry: LiveRegistry,
    pub kafka: KafkaConfig,
    /// Who asks for the log's ends: there is one for as long as anybody asks. Lanes do at their start, and where records that
    /// they are owed do not come.
    pub asker: Mutex<Weak<BaseConsumer>>,
    pub reached: Reached,
    /// Counts how often a tier was found to have forgotten something: lanes that hear of it look at theirs.
    pub doubts: watch::Sender<u64>,
    pub refill: Refill,
    pub sweeper: Sweeper,
    pub park: Park,
    pub switched: Switched,
    pub metrics: EngineMetrics,
}

impl Shared {
    /// A tier in Redis.
    pub fn tier(&self, name: TierName) -> Tier {
        if name == TierName::L1 { self.tiers.l1.clone() } else { self.tiers.l2.clone() }
    }

    /// The database's timeline, as the gate last heard.
    pub fn timeline(&self) -> String {
        self.gate.state().epoch.map(|epoch| epoch.timeline).unwrap_or_default()
    }

    /// The log's ends, then the newest epoch.
    pub async fn look(&self, topic: &str, partition: u32) -> Result<Look, String> {
        let (oldest, end) = self.ends_after_switches(topic, partition).await?;
        let epoch = self.gate.epoch().await.map_err(|error| error.to_string())?;
        Ok(Look { oldest, end, epoch: epoch.number, timeline: epoch.timeline, lsn: Lsn(0), at: now_micros() })
    }

    /// The log's ends, then a moment at which all before an LSN was visible. A long transaction delays that moment.
    pub async fn settle(&self, topic: &str, partition: u32) -> Result<Look, String> {
        let (oldest, end) = self.ends_after_switches(topic, partition).await?;
        let settled = self.gate.settle().await.map_err(|error| error.to_string())?;
        let (epoch, timeline) = (settled.epoch.number, settled.epoch.timeline);
        Ok(Look { oldest, end, epoch, timeline, lsn: settled.lsn, at: now_micros() })
    }

    /// All that has been switched by now is heard, then the log's ends are asked for: a lane that begins behind the place in
    /// the log from which on a version of a view is kept in step never meets that place.
    async fn ends_after_switches(&self, topic: &str, partition: u32) -> Result<(i64, i64), String> {
        let asker = self.asker()?;
        if let Err(error) = self.hear_switches(asker.clone()).await {
            // The end of a client blocks.
            tokio::task::spawn_blocking(move || drop(asker));
            return Err(error);
        }
        self.ends(asker, topic.to_owned(), partition).await
    }

    async fn hear_switches(&self, asker: Arc<BaseConsumer>) -> Result<(), String> {
        let (_, end) = self.ends(asker, topics::SWITCHES.name(&self.kafka), 0).await?;
        tokio::time::timeout(ENDS_WAIT_MAX, self.switched.heard(end))
            .await
            .map_err(|_| "what operators have switched is not heard yet".to_owned())
    }

    async fn ends(&self, asker: Arc<BaseConsumer>, topic: String, partition: u32) -> Result<(i64, i64), String> {
        let known = Arc::downgrade(&asker);
        let fetch = move || asker.fetch_watermarks(&topic, partition as i32, ENDS_WAIT_MAX);
        let fetched = tokio::task::spawn_blocking(fetch).await;
        fetched.map_err(|error| error.to_string())?.map_err(|error| {
            // A client can go deaf: whoever asks next has another one.
            let mut current = self.lock_asker();
            if current.ptr_eq(&known) {
                *current = Weak::new();
            }
            format!("the log's ends: {error}")
        })
    }

    fn asker(&self) -> Result<Arc<BaseConsumer>, String> {
        let mut known = self.lock_asker();
        if let Some(asker) = known.upgrade() {
            return Ok(asker);
        }
        let asker = topics::reader(&self.kafka, "offsets").create().map(Arc::new).map_err(|error| error.to_string())?;
        *known = Arc::downgrade(&asker);
        Ok(asker)
    }

    fn lock_asker(&self) -> MutexGuard<'_, Weak<BaseConsumer>> {
        self.asker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
