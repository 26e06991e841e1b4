//! The hot set, as the warmer announces it: a reader's miss creates an entry of a hot view only for its members.

use std::collections::HashSet;
use std::sync::Arc;

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Shutdown, retry};
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use tokio::sync::watch;

/// The newest hot set. Clones share it.
#[derive(Clone)]
pub(crate) struct HotSet(watch::Receiver<Arc<HashSet<String>>>);

impl HotSet {
    /// Starts to follow the topic.
    pub fn follow(kafka: KafkaConfig, shutdown: Shutdown) -> Self {
        let (tell, newest) = watch::channel(Arc::default());
        tokio::spawn(async move {
            let follow = || async {
                let mut tail = Tail::open(&kafka, "hot", topics::HOT, Begin::Newest).await?;
                loop {
                    let message = tail.next().await?;
                    match serde_json::from_slice::<HashSet<String>>(message.payload().unwrap_or_default()) {
                        Ok(set) => drop(tell.send_replace(Arc::new(set))),
                        Err(error) => tracing::warn!(%error, "a hot set that can't be read was passed over"),
                    }
                }
                #[expect(unreachable_code, reason = "the type of the attempt")]
                Ok::<(), KafkaError>(())
            };
            tokio::select! {
                _ = retry::until_ok("reading the hot set", &shutdown, follow) => {}
                () = shutdown.cancelled() => {}
            }
        });
        HotSet(newest)
    }

    /// Whether an entity is a member.
    pub fn contains(&self, entity: &str) -> bool {
        self.0.borrow().contains(entity)
    }
}
