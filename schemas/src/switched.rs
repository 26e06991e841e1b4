//! Follows what operators have switched.

use std::collections::BTreeMap;

use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_process::{Shutdown, retry};
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedMessage;
use tokio::sync::watch;

use crate::follower::Follower;
use crate::switches::{Switch, Switches};
use crate::tail::{Begin, Tail};
use crate::versions::Versions;
use crate::{brokers, topics};

/// The switches, always the newest at hand. Clones share them.
#[derive(Clone)]
pub struct Switched(watch::Receiver<Switches>);

/// All switches, as the topic has them now.
pub async fn read(kafka: &KafkaConfig, id: &str) -> Result<Switches, KafkaError> {
    let mut tail = Tail::open(kafka, id, topics::SWITCHES, Begin::Oldest).await?;
    let mut switches = Switches::default();
    while let Some(message) = tail.next_before_end().await? {
        match Switch::from_json(message.payload().unwrap_or_default()) {
            Ok(switch) => drop(switches.take(message.offset(), switch)),
            Err(_) => switches.pass(message.offset()),
        }
    }
    Ok(switches)
}

impl Switched {
    /// Reads all that stands in the topic, then follows it: whoever begins must not read, or leave out, a version of a view
    /// of which he has not heard yet. Where there is no topic, nothing has ever been switched. `None`: at shutdown.
    pub async fn open(kafka: &KafkaConfig, follower: &Follower, shutdown: &Shutdown) -> Option<Self> {
        let look = || async {
            let topics = brokers::partition_counts(kafka, "switches-start").await.map_err(|error| error.to_string())?;
            if !topics.contains_key(&topics::SWITCHES.name(kafka)) {
                return Ok(Switches::default());
            }
            read(kafka, "switches-start").await.map_err(|error| error.to_string())
        };
        let first = retry::until_ok("reading what operators have switched", shutdown, look).await?;
        Some(Self::follow(follower, first))
    }

    fn follow(follower: &Follower, first: Switches) -> Self {
        let (tell, newest) = watch::channel(first);
        let take = move |message: &OwnedMessage| match Switch::from_json(message.payload().unwrap_or_default()) {
            Ok(switch) => {
                tell.send_if_modified(|switches| {
                    let is_news = switches.take(message.offset(), switch.clone());
                    if is_news {
                        let Switch { what, on, by, reason, .. } = &switch;
                        tracing::info!(%what, on, by, reason, "an operator's switch");
                    }
                    is_news
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a switch that can't be read was passed over");
                tell.send_modify(|switches| switches.pass(message.offset()));
            }
        };
        follower.follow(topics::SWITCHES, Begin::Oldest, take);
        Switched(newest)
    }

    /// Whether the lane of a partition is paused now.
    pub fn pauses(&self, group: &str, partition: u32) -> bool {
        self.0.borrow().pauses(group, partition, now_micros())
    }

    /// Whether readers pass a view by now.
    pub fn bypasses(&self, view: &str) -> bool {
        self.0.borrow().bypasses(view, now_micros())
    }

    /// The version of a view's entries that is read now.
    pub fn version_of(&self, view: &str) -> u32 {
        self.0.borrow().versions().get(view).map_or(0, |versions| versions.read)
    }

    /// The versions of every view that has more than the first, or had.
    pub fn versions(&self) -> BTreeMap<String, Versions> {
        self.0.borrow().versions().clone()
    }

    /// Waits until all before an offset of the topic has been heard.
    pub async fn heard(&self, end: i64) {
        let mut newest = self.0.clone();
        if newest.wait_for(|switches| switches.next() >= end).await.is_err() {
            // Nobody follows any more: the process ends.
            std::future::pending().await
        }
    }

    /// Whether a switch was turned since it was last asked for here.
    pub fn has_changed(&mut self) -> bool {
        self.0.has_changed().is_ok_and(|changed| changed) && self.0.borrow_and_update().next() > 0
    }

    /// Waits for the next turn of a switch.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
