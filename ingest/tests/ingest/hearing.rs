//! A client that Kafka answers no more is told from a Kafka that is away.

use lockstep_process::config::KafkaConfig;
use lockstep_schemas::hearing::is_deaf;
use lockstep_schemas::topics;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::shop::Shop;

pub async fn only_a_client_that_alone_gets_no_answer_is_deaf(shop: &Shop) {
    let away = KafkaConfig { brokers: "127.0.0.1:1".to_owned(), ..shop.kafka.clone() };
    let consumer: BaseConsumer = topics::client(&shop.kafka, "test-hearing").create().expect("a client");
    let consumer = std::sync::Arc::new(consumer);
    let progress = topics::PROGRESS.name(&shop.kafka);
    let hears = move |wait_max| consumer.fetch_metadata(Some(&progress), wait_max);
    let hears_nothing = |_| Err(KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure));
    assert!(!is_deaf(&shop.kafka, hears).await, "it was answered");
    assert!(is_deaf(&shop.kafka, hears_nothing).await, "others are answered");
    let hears_late = |_| Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
    assert!(!is_deaf(&shop.kafka, hears_late).await, "a broker that it knows is slow");
    assert!(!is_deaf(&away, hears_nothing).await, "nobody is answered: Kafka is away");
}
