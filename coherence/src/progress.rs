//! The progress topic, for all lanes of the process.

use lockstep_process::config::KafkaConfig;
use lockstep_process::{Shutdown, retry};
use lockstep_schemas::progress::Progress;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use tokio::sync::watch;

/// Follows the topic; the newest record is always at hand.
pub(crate) fn follow(kafka: KafkaConfig, shutdown: Shutdown) -> watch::Receiver<Option<Progress>> {
    let (tell, newest) = watch::channel(None);
    tokio::spawn(async move {
        let follow = || async {
            let mut tail = Tail::open(&kafka, "progress", topics::PROGRESS, Begin::Newest).await?;
            loop {
                let message = tail.next().await?;
                match Progress::from_json(message.payload().unwrap_or_default()) {
                    Ok(progress) => drop(tell.send_replace(Some(progress))),
                    Err(error) => tracing::warn!(%error, "a progress record that can't be read was passed over"),
                }
            }
            #[expect(unreachable_code, reason = "the type of the attempt")]
            Ok::<(), KafkaError>(())
        };
        tokio::select! {
            _ = retry::until_ok("reading progress", &shutdown, follow) => {}
            () = shutdown.cancelled() => {}
        }
    });
    newest
}
