//! The topics are created explicitly, and refused where they are not what they must be.

use lockstep_process::Failure;
use lockstep_process::config::KafkaConfig;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::topics::{self, TopicSpec};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// Creates what is missing; compares the partition counts of what is there.
pub(crate) async fn ensure(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<(), Failure> {
    let specs = topics::all(policy.groups.keys().map(|name| &**name), partitions);
    let admin: AdminClient<DefaultClientContext> = topics::client(kafka, "admin")
        .create()
        .map_err(|error| Failure::configuration("Kafka's settings").because(error))?;
    let known = partition_counts(kafka).await?;
    for spec in &specs {
        match known.iter().find(|(name, _)| *name == spec.name) {
            None => create(&admin, kafka, spec).await?,
            Some((_, count)) if *count == spec.partitions => {}
            Some((_, count)) => {
                return Err(Failure::configuration(format!("topic {} has {count} partitions, not {}", spec.name, spec.partitions))
                    .remedy("configure partitions as they are, or choose a new namespace and topic: the order of entities depends on the count"));
            }
        }
    }
    Ok(())
}

async fn partition_counts(kafka: &KafkaConfig) -> Result<Vec<(String, i32)>, Failure> {
    let config = topics::client(kafka, "admin");
    let brokers = kafka.brokers.clone();
    let fetched = tokio::task::spawn_blocking(move || {
        let client: rdkafka::consumer::BaseConsumer = config.create()?;
        let metadata = rdkafka::consumer::Consumer::fetch_metadata(&client, None, ANSWER_WAIT_MAX)?;
        let topics = metadata.topics().iter();
        Ok::<_, KafkaError>(topics.map(|topic| (topic.name().to_owned(), topic.partitions().len() as i32)).collect())
    });
    let away = || {
        Failure::unavailable(format!("can't reach Kafka at {brokers}"))
            .remedy("check that a broker runs there and that LOCKSTEP_KAFKA_BROKERS is right")
    };
    fetched.await.map_err(Failure::internal)?.map_err(|error| away().because(error))
}

async fn create(
    admin: &AdminClient<DefaultClientContext>,
    kafka: &KafkaConfig,
    spec: &TopicSpec,
) -> Result<(), Failure> {
    let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(kafka.replication));
    for (name, value) in &spec.settings {
        topic = topic.set(name, value);
    }
    if kafka.replication >= 3 {
        topic = topic.set("min.insync.replicas", "2");
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WAIT_MAX)).request_timeout(Some(ANSWER_WAIT_MAX));
    let refuse = || {
        Failure::configuration(format!("can't create topic {}", spec.name))
            .remedy("create it by hand, or allow it to our user")
    };
    let results = admin.create_topics([&topic], &options).await.map_err(|error| refuse().because(error))?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => Err(refuse().because(code)),
        _ => {
            tracing::info!(topic = %spec.name, partitions = spec.partitions, "topic created");
            Ok(())
        }
    }
}
