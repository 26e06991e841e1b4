//! The catalogue's log, as any consumer of Lockstep's reads it.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_process::Shutdown;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::follower::Follower;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::tail::{Begin, Tail};
use lockstep_schemas::topics::Topic;

const TOPIC: Topic = Topic::ours("catalogue");

/// What it has brought of `products` so far.
#[derive(Debug, Default)]
pub struct Log {
    /// Product and operation.
    changes: BTreeSet<(String, String)>,
    /// Kinds of its control records.
    pub controls: Vec<String>,
}

impl Log {
    /// Reads from the oldest record until a product comes; the topic has one partition.
    pub fn until(kafka: &KafkaConfig, product: &str, limit: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut log = Log::default();
            let read = tokio::time::timeout(limit, log.read(kafka, product)).await;
            assert!(read.is_ok(), "waited {limit:?} for {product}; there was {log:?}");
            log
        })
    }

    pub fn has(&self, product: &str, operation: &str) -> bool {
        self.changes.contains(&(product.to_owned(), operation.to_owned()))
    }

    async fn read(&mut self, kafka: &KafkaConfig, product: &str) {
        let following = Shutdown::new();
        let _ends_with_this = following.clone().drop_guard();
        let mut reader = RecordReader::new(LiveRegistry::follow(&Follower::start(kafka, following)));
        let mut tail = Tail::open(kafka, "test-failover", TOPIC, Begin::Oldest).await.expect("the topic");
        while !self.has(product, "c") {
            let message = tail.next().await.expect("a record");
            match reader.read(&RawRecord::of(&message)).await.expect("a record that can be read") {
                Event::Change(change) if &*change.table == "public.products" => {
                    let id = change.row().and_then(|row| row.text("product_id")).expect("the identity");
                    self.changes.insert((id.to_owned(), change.op.letter().to_owned()));
                }
                Event::Control(control) => self.controls.push(control.kind.name().to_owned()),
                Event::Change(_) | Event::Invalidation(_) | Event::Nothing => {}
            }
        }
    }
}
