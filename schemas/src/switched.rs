//! Follows what operators have switched.

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::sync::watch;

use crate::switches::{Switch, Switches};
use crate::tail::{self, Begin};
use crate::topics;

/// The switches, always the newest at hand. Clones share them.
#[derive(Clone)]
pub struct Switched(watch::Receiver<Switches>);

impl Switched {
    /// Starts to follow the topic.
    pub fn follow(kafka: KafkaConfig, shutdown: Shutdown) -> Self {
        let (tell, newest) = watch::channel(Switches::default());
        tokio::spawn(async move {
            let take = |message: OwnedMessage| match Switch::from_json(message.payload().unwrap_or_default()) {
                Ok(switch) => {
                    tracing::info!(what = %switch.what, on = switch.on, by = switch.by, reason = switch.reason, "an operator's switch");
                    tell.send_modify(|switches| switches.take(message.offset(), switch));
                }
                Err(error) => tracing::warn!(%error, "a switch that can't be read was passed over"),
            };
            tail::follow(kafka, "switches", topics::SWITCHES, Begin::Oldest, shutdown, take).await;
        });
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

    /// Waits for the next turn of a switch.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
