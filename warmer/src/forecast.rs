//! The role `forecast`: order lines from the log, scores out.

pub mod bank;
pub mod baselines;
pub mod chooser;
pub mod cut;
pub mod evaluate;
pub mod ewma;
pub mod hour;
pub mod online;
pub mod products;
pub mod state;
pub mod terms;

use std::time::Duration;

use lockstep_process::clock::now_micros;
use lockstep_process::config::{Config, KafkaConfig};
use lockstep_process::{Failure, Shutdown, retry};
use lockstep_schemas::change::Op;
use lockstep_schemas::record::{Event, RawRecord, RecordReader};
use lockstep_schemas::registry::LiveRegistry;
use lockstep_schemas::scores::{SUBJECT, Score};
use lockstep_schemas::topics;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::count::SevenDays;

/// Scores are published this often, where lines came meanwhile.
pub const INTERVAL: Duration = Duration::from_secs(5);
const SCHEMA_WAIT_MAX: Duration = Duration::from_secs(30);
const MODEL: &str = "last-7-days";
const SALES: &str = "sales";
const LINES: &str = "public.order_lines";

/// Runs the forecast until shutdown.
pub async fn run(config: &Config, shutdown: Shutdown) -> Result<(), Failure> {
    let kafka = config.kafka()?.clone();
    let mut registry = LiveRegistry::follow(kafka.clone(), shutdown.clone());
    let producer: FutureProducer = topics::producer(&kafka, "forecast").create().map_err(failed)?;
    let open = || open(&kafka, config.partitions);
    let Some(lines) = retry::until_ok("reading order lines", &shutdown, open).await else { return Ok(()) };
    let mut reader = RecordReader::new(registry.clone());
    let mut days = SevenDays::default();
    let mut fresh = false;
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tracing::info!("the forecast runs");
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            message = lines.recv() => match message {
                Ok(message) => fresh |= take_in(&mut reader, &mut days, &RawRecord::of(&message)).await,
                Err(error) => tracing::debug!(%error, "reading order lines"),
            },
            _ = tick.tick(), if fresh => {
                fresh = false;
                let Some(schema) = registry.id(SUBJECT, SCHEMA_WAIT_MAX).await else { continue };
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(()),
                    published = publish(&producer, schema, &days) => if let Err(error) = published {
                        tracing::warn!(%error, "scores were not published");
                    }
                }
            }
        }
    }
}

fn failed(error: KafkaError) -> Failure {
    Failure::unavailable("Kafka").because(error)
}

/// Every partition of the group, from its oldest record: the counts are not kept elsewhere.
async fn open(kafka: &KafkaConfig, partitions: u32) -> Result<StreamConsumer, KafkaError> {
    let mut config = topics::reader(kafka, "forecast");
    config.set("auto.offset.reset", "earliest");
    let open = move || {
        let consumer: StreamConsumer = config.create()?;
        let mut list = TopicPartitionList::new();
        for partition in 0..partitions as i32 {
            list.add_partition_offset(&topics::of_group(SALES), partition, Offset::Beginning)?;
        }
        consumer.fetch_watermarks(&topics::of_group(SALES), 0, Duration::from_secs(10))?;
        consumer.assign(&list)?;
        Ok(consumer)
    };
    tokio::task::spawn_blocking(open).await.unwrap_or(Err(KafkaError::Canceled))
}

/// Counts a line; whether it was one.
async fn take_in(reader: &mut RecordReader, days: &mut SevenDays, record: &RawRecord) -> bool {
    let change = match reader.read(record).await {
        Ok(Event::Change(change)) if change.op == Op::Insert && &*change.table == LINES => change,
        Ok(_) => return false,
        Err(why) => {
            tracing::warn!(offset = record.offset, %why, "an order line that can't be read was passed over");
            return false;
        }
    };
    let row = change.row();
    let placed_at = row.and_then(|row| row.text("placed_at")).and_then(micros);
    let (Some(product), Some(placed_at)) = (row.and_then(|row| row.text("product_id")), placed_at) else {
        return false;
    };
    // A line from the future would make all others look old.
    days.sold(product, placed_at.min(now_micros()));
    true
}

/// A canonical time with zone as microseconds since 1970.
fn micros(text: &str) -> Option<i64> {
    lockstep_schemas::column::instant_micros(text)
}

async fn publish(producer: &FutureProducer, schema: u32, days: &SevenDays) -> Result<(), KafkaError> {
    let (hour, scores) = days.scores();
    let made_at = now_micros();
    let mut sent = Vec::with_capacity(scores.len());
    for (product, score) in scores {
        let record = Score { product: product.to_owned(), hour, score, model: MODEL.to_owned(), made_at };
        let value = record.encode(schema);
        let record = FutureRecord::to(topics::SCORES).partition(0).key(product).payload(&value);
        match producer.send_result(record) {
            Ok(delivery) => sent.push(delivery),
            Err((error, _)) => return Err(error),
        }
    }
    let count = sent.len();
    for delivery in sent {
        delivery.await.map_err(|_| KafkaError::Canceled)?.map_err(|(error, _)| error)?;
    }
    tracing::debug!(count, "scores published");
    Ok(())
}
