//! The progress topic, for all lanes of the process.

use lockstep_schemas::follower::Follower;
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::Begin;
use lockstep_schemas::topics;
use rdkafka::Message as _;
use tokio::sync::watch;

/// Follows the topic; the newest record is always at hand.
pub(crate) fn follow(follower: &Follower) -> watch::Receiver<Option<Progress>> {
    let (tell, newest) = watch::channel(None);
    follower.follow(topics::PROGRESS, Begin::Newest, move |message| {
        match Progress::from_json(message.payload().unwrap_or_default()) {
            Ok(progress) => drop(tell.send_replace(Some(progress))),
            Err(error) => tracing::warn!(%error, "a progress record that can't be read was passed over"),
        }
    });
    newest
}
