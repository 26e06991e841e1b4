//! The hot set, as the warmer announces it: a reader's miss creates an entry of a hot view only for its members.

use std::collections::HashSet;
use std::sync::Arc;

use lockstep_schemas::follower::Follower;
use lockstep_schemas::shown::JsonFault;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use tokio::sync::watch;

/// The newest hot set. Clones share it.
#[derive(Clone)]
pub(crate) struct HotSet(watch::Receiver<Arc<HashSet<String>>>);

impl HotSet {
    /// Starts to follow the topic.
    pub fn follow(follower: &Follower) -> Self {
        let (tell, newest) = watch::channel(Arc::default());
        follower.follow(topics::HOT, Begin::Newest, move |message| {
            match serde_json::from_slice::<HashSet<String>>(message.payload().unwrap_or_default()) {
                Ok(set) => drop(tell.send_replace(Arc::new(set))),
                Err(error) => {
                    tracing::warn!(error = %JsonFault::from(error), "a hot set that can't be read was passed over")
                }
            }
        });
        HotSet(newest)
    }

    /// Whether an entity is a member.
    pub fn contains(&self, entity: &str) -> bool {
        self.0.borrow().contains(entity)
    }
}
