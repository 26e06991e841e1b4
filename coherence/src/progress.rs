//! The progress topic, for all lanes of the process.

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{self, Begin};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::message::OwnedMessage;
use tokio::sync::watch;

/// Follows the topic; the newest record is always at hand.
pub(crate) fn follow(kafka: KafkaConfig, shutdown: Shutdown) -> watch::Receiver<Option<Progress>> {
    let (tell, newest) = watch::channel(None);
    tokio::spawn(async move {
        let take = |message: OwnedMessage| match Progress::from_json(message.payload().unwrap_or_default()) {
            Ok(progress) => drop(tell.send_replace(Some(progress))),
            Err(error) => tracing::warn!(%error, "a progress record that can't be read was passed over"),
        };
        tail::follow(kafka, "progress", topics::PROGRESS, Begin::Newest, shutdown, take).await;
    });
    newest
}
