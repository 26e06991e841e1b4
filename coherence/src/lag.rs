//! Progress for every lag tool: the groups `<prefix>-l2`, `<prefix>-l1`, `<prefix>-l3`, without members. These offsets
//! are for eyes only; nothing starts from them. Where a tier forgot what it had applied, its offset's metadata says up to
//! where that is repaired, for as long as it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::topics::REPAIRING;
use lockstep_schemas::{hearing, topics};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::metrics::Repairing;

const INTERVAL: Duration = Duration::from_secs(1);
/// Offsets that did not move for so long stand still.
const STILL_AFTER: Duration = Duration::from_secs(30);
/// Those that stand still are said again this often: somebody else's, of before a partition came to us, may have come late.
const AGAIN_INTERVAL: Duration = Duration::from_secs(300);

/// What is applied of a partition on a tier.
struct Applied {
    /// Everything before it.
    offset: i64,
    /// The tier forgot: it is repaired up to here.
    repaired_at: Option<i64>,
}

type Offsets = BTreeMap<(TierName, String, i32), Applied>;

/// The offsets that lanes have reached. Clones share them.
#[derive(Clone)]
pub(crate) struct Reached {
    offsets: Arc<Mutex<Offsets>>,
    repairing: Repairing,
    /// Grows with each offset that is another than before.
    version: Arc<watch::Sender<u64>>,
}

impl Reached {
    pub fn new(repairing: Repairing) -> Self {
        Reached { offsets: Arc::default(), repairing, version: Arc::default() }
    }

    /// A lane has applied everything before an offset.
    pub fn set(&self, tier: TierName, topic: &str, partition: i32, offset: i64) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = offsets.entry((tier, topic.to_owned(), partition));
        let applied = applied.or_insert_with(|| {
            self.is_another();
            Applied { offset, repaired_at: None }
        });
        if std::mem::replace(&mut applied.offset, offset) != offset {
            self.is_another();
        }
        if applied.repaired_at.take_if(|to| *to <= offset).is_some() {
            self.repairing.of(tier).dec();
            self.is_another();
        }
    }

    /// A tier is behind what had been reached.
    pub fn forgot(&self, tier: TierName, topic: &str, partition: i32) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(applied) = offsets.get_mut(&(tier, topic.to_owned(), partition)) else { return };
        if applied.repaired_at.is_none() {
            self.repairing.of(tier).inc();
        }
        applied.repaired_at = applied.repaired_at.max(Some(applied.offset));
        self.is_another();
    }

    fn is_another(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// A partition has gone to another engine.
    pub fn forget(&self, topic: &str, partition: i32) {
        let mut offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.retain(|(tier, known, at), applied| {
            let stays = known != topic || *at != partition;
            if !stays && applied.repaired_at.is_some() {
                self.repairing.of(*tier).dec();
            }
            stays
        });
    }

    fn of(&self, tier: TierName) -> Result<TopicPartitionList, KafkaError> {
        let offsets = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = TopicPartitionList::new();
        for ((_, topic, partition), applied) in offsets.iter().filter(|((name, _, _), _)| *name == tier) {
            list.add_partition_offset(topic, *partition, Offset::Offset(applied.offset))?;
            if let (Some(to), Some(mut element)) = (applied.repaired_at, list.find_partition(topic, *partition)) {
                element.set_metadata(format!("{REPAIRING}{to}"));
            }
        }
        Ok(list)
    }
}

/// Publishes them until shutdown: once a second, while they change.
pub(crate) async fn publish(kafka: KafkaConfig, reached: Reached, shutdown: Shutdown) {
    let publish = |tier: TierName| publish_of(tier, &kafka, &reached);
    tokio::select! {
        _ = futures_util::future::join_all(TierName::INSIDE_OUT.map(publish)) => {}
        () = shutdown.cancelled() => {}
    }
}

async fn publish_of(tier: TierName, kafka: &KafkaConfig, reached: &Reached) {
    let mut version = reached.version.subscribe();
    // Lanes may have been quicker.
    version.mark_changed();
    loop {
        let moves = tokio::time::timeout(AGAIN_INTERVAL, version.changed()).await.is_ok();
        let still_after = if moves { STILL_AFTER } else { Duration::ZERO };
        if let Err(error) = publish_while_moving(tier, kafka, reached, &mut version, still_after).await {
            tracing::warn!(tier = tier.as_str(), %error, "lag tools do not see where the tier is");
            tokio::time::sleep(STILL_AFTER).await;
            version.mark_changed();
        }
    }
}

/// Publishes until the offsets stand still, and Kafka has them; then its client goes, for each has threads that wake.
async fn publish_while_moving(
    tier: TierName,
    kafka: &KafkaConfig,
    reached: &Reached,
    version: &mut watch::Receiver<u64>,
    still_after: Duration,
) -> Result<(), KafkaError> {
    if reached.of(tier)?.count() == 0 {
        return Ok(());
    }
    let mut config = topics::reader(kafka, "lag");
    config.set("group.id", topics::own_name(kafka, tier.as_str()));
    let consumer = Arc::new(config.create::<BaseConsumer>()?);
    let (asked, progress) = (Arc::clone(&consumer), topics::PROGRESS.name(kafka));
    let ask = move |wait_max| asked.fetch_metadata(Some(&progress), wait_max);
    let commits = async {
        let (mut tick, mut said, mut moved_at) = (tokio::time::interval(INTERVAL), None, Instant::now());
        let mut is_refused = false;
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            // Serves the client's events; it has nothing assigned, so no record comes.
            let _ = consumer.poll(Duration::ZERO);
            let newest = Some(*version.borrow_and_update());
            let is_still = said == newest && moved_at.elapsed() >= still_after;
            if said != newest || is_still {
                match commit(&consumer, reached.of(tier)).await {
                    Ok(()) if is_still => return,
                    Ok(()) => (said, moved_at) = (newest, Instant::now()),
                    Err(error) if !std::mem::replace(&mut is_refused, true) => {
                        tracing::warn!(tier = tier.as_str(), %error, "lag offsets were not published; trying again");
                    }
                    Err(_) => {}
                }
            }
        }
    };
    tokio::select! {
        () = commits => {}
        // What it was not told of is said by another one.
        () = hearing::until_deaf(kafka, ask) => version.mark_changed(),
    }
    Ok(())
}

/// Commits, and hears the answer: of one that is not waited for, the client tells nothing.
async fn commit(consumer: &Arc<BaseConsumer>, list: Result<TopicPartitionList, KafkaError>) -> Result<(), KafkaError> {
    let (consumer, list) = (Arc::clone(consumer), list?);
    let commit = move || if list.count() == 0 { Ok(()) } else { consumer.commit(&list, CommitMode::Sync) };
    tokio::task::spawn_blocking(commit).await.unwrap_or(Err(KafkaError::Canceled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_lasts_until_the_tier_is_where_it_was() {
        let repairing = Repairing::default();
        let reached = Reached::new(repairing.clone());
        let metadata = || {
            let list = reached.of(TierName::L2).expect("a list");
            list.elements().first().map(|element| (element.offset(), element.metadata().to_owned()))
        };
        let count = || repairing.of(TierName::L2).get();
        reached.forgot(TierName::L2, "log", 0);
        assert_eq!(count(), 0, "nothing had been reached");
        reached.set(TierName::L2, "log", 0, 100);
        assert_eq!(metadata(), Some((Offset::Offset(100), String::new())));
        reached.forgot(TierName::L2, "log", 0);
        reached.set(TierName::L2, "log", 0, 40);
        assert_eq!((count(), metadata()), (1, Some((Offset::Offset(40), "repairing to 100".to_owned()))));
        reached.forgot(TierName::L2, "log", 0);
        assert_eq!((count(), metadata().expect("it").1), (1, "repairing to 100".to_owned()), "in the middle of it");
        reached.set(TierName::L2, "log", 0, 100);
        assert_eq!((count(), metadata()), (0, Some((Offset::Offset(100), String::new()))));
        reached.forgot(TierName::L2, "log", 0);
        reached.forget("log", 0);
        assert_eq!((count(), metadata()), (0, None), "another engine's from now on");
    }
}
