//! Progress for every lag tool: the groups `<prefix>-l2`, `<prefix>-l1`, `<prefix>-l3`, without members. These offsets
//! are for eyes only; nothing starts from them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::policy::TierName;
use lockstep_schemas::{hearing, topics};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(1);
/// Offsets that stand still are said again this often: Kafka may have missed them, and forgets what is old.
const AGAIN_INTERVAL: Duration = Duration::from_secs(15);

type Offsets = BTreeMap<(TierName, String, i32), i64>;

/// The offsets that lanes have reached. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Reached(Arc<Mutex<Offsets>>);

impl Reached {
    /// A lane has applied everything before an offset.
    pub fn set(&self, tier: TierName, topic: &str, partition: i32, offset: i64) {
        let mut offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.insert((tier, topic.to_owned(), partition), offset);
    }

    /// A partition has gone to another engine.
    pub fn forget(&self, topic: &str, partition: i32) {
        let mut offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.retain(|(_, known, at), _| known != topic || *at != partition);
    }

    fn of(&self, tier: TierName) -> Result<TopicPartitionList, KafkaError> {
        let offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = TopicPartitionList::new();
        for ((_, topic, partition), offset) in offsets.iter().filter(|((name, _, _), _)| *name == tier) {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
        }
        Ok(list)
    }
}

/// Publishes them until shutdown: once a second, where they have changed.
pub(crate) async fn publish(kafka: KafkaConfig, reached: Reached, shutdown: Shutdown) {
    let publish = |tier: TierName| publish_of(tier, &kafka, &reached, &shutdown);
    futures_util::future::join_all(TierName::INSIDE_OUT.map(publish)).await;
}

async fn publish_of(tier: TierName, kafka: &KafkaConfig, reached: &Reached, shutdown: &Shutdown) {
    let mut config = topics::reader(kafka, "lag");
    config.set("group.id", topics::own_name(kafka, tier.as_str()));
    let mut tick = tokio::time::interval(INTERVAL);
    loop {
        let consumer = match config.create::<BaseConsumer>() {
            Ok(consumer) => Arc::new(consumer),
            Err(error) => {
                return tracing::warn!(tier = tier.as_str(), %error, "lag tools will not see the tier's group");
            }
        };
        let (asked, progress) = (Arc::clone(&consumer), topics::PROGRESS.name(kafka));
        let ask = move |wait_max| asked.fetch_metadata(Some(&progress), wait_max);
        let commits = async {
            let mut said: Option<(TopicPartitionList, Instant)> = None;
            loop {
                tick.tick().await;
                let commit = reached.of(tier).and_then(|list| {
                    let before = said.as_ref().filter(|(_, at)| at.elapsed() < AGAIN_INTERVAL);
                    if list.count() == 0 || before.is_some_and(|(before, _)| *before == list) {
                        return Ok(());
                    }
                    consumer.commit(&list, CommitMode::Async)?;
                    said = Some((list, Instant::now()));
                    Ok(())
                });
                if let Err(error) = commit {
                    tracing::debug!(tier = tier.as_str(), %error, "lag offsets were not published");
                }
                // Serves the client's answers; it has nothing assigned, so no record comes.
                let _ = consumer.poll(Duration::ZERO);
            }
        };
        tokio::select! {
            () = commits => {}
            // Then another takes its place.
            () = hearing::until_deaf(kafka, ask) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
