//! View events: which product was read, for forecast and warmer. Nothing of who read it, and never at a reader's cost: what
//! does not fit into a bounded queue is dropped and counted.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::clock::now_micros;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::polled::PolledProducer;
use lockstep_schemas::topics;
use lockstep_schemas::views::ViewEvent;
use prometheus_client::metrics::counter::Counter;
use rdkafka::ClientContext;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext};

/// Events that wait for Kafka, at most.
const WAITING_MAX: u32 = 10_000;
/// An event that could not be delivered in this time is of no use any more.
const DELIVERY_MS_MAX: u32 = 10_000;
/// At the end, what was seen last gets so long.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(1);
/// Events go together: nobody waits for them.
const LINGER_MS: u32 = 200;

/// What became of events.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub published: Counter,
    pub dropped: Counter,
}

/// Publishes a sample of what is read.
pub(crate) struct Views {
    producer: PolledProducer<Counts>,
    counts: Counts,
    /// Each event stands for so many reads.
    weight: u32,
}

impl ClientContext for Counts {}

impl ProducerContext for Counts {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        match delivered {
            Ok(_) => self.published.inc(),
            Err(_) => self.dropped.inc(),
        };
    }
}

impl Views {
    /// A publisher of one in so many reads. Kafka may be away.
    pub fn open(kafka: &KafkaConfig, weight: u32, counts: Counts) -> Result<Views, Failure> {
        let mut config = topics::client(kafka, "gateway-views");
        config
            .set("acks", "1")
            .set("compression.type", "lz4")
            .set("linger.ms", LINGER_MS.to_string())
            .set("message.timeout.ms", DELIVERY_MS_MAX.to_string())
            .set("queue.buffering.max.messages", WAITING_MAX.to_string());
        let producer = PolledProducer::open(&config, counts.clone());
        let producer = producer.map_err(|error| Failure::internal("a producer of view events").because(error))?;
        Ok(Views { producer, counts, weight: weight.max(1) })
    }

    /// A product was read.
    pub fn saw(&self, product: &str) {
        if self.weight > 1 && fastrand::u32(0..self.weight) != 0 {
            return;
        }
        let value = ViewEvent { product: product.to_owned(), at: now_micros(), weight: self.weight }.to_json();
        let record = BaseRecord::to(topics::VIEWS.base_name()).partition(0).key(product).payload(&value);
        if self.producer.client().send(record).is_err() {
            self.counts.dropped.inc();
        }
    }
}

impl Drop for Views {
    fn drop(&mut self) {
        if self.producer.client().flush(FLUSH_WAIT_MAX).is_err() {
            let left = u64::try_from(self.producer.client().in_flight_count()).unwrap_or(0);
            tracing::debug!(left, "view events were still under way at the end");
        }
    }
}
