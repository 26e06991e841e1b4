//! The topics are created explicitly, and refused where they are not what they must be.

use std::collections::BTreeSet;
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::KafkaConfig;
use lockstep_process::failure::FailureKind;
use lockstep_schemas::brokers;
use lockstep_schemas::policy::Policy;
use lockstep_schemas::topics::{self, TopicSpec};
use lockstep_source::preflight::Check;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is looked whether topics are still there.
const GONE_LOOK_INTERVAL: Duration = Duration::from_secs(20);
/// And how soon again where one was missed.
const GONE_LOOK_AGAIN: Duration = Duration::from_secs(3);
/// The setting that bounds a batch, and so a record.
const BATCH_BYTES: &str = "max.message.bytes";
/// The setting that says how many replicas a write is in before it is acknowledged.
const IN_SYNC: &str = "min.insync.replicas";
/// Replicas from which on a write is to be in two of them before it is acknowledged.
const REPLICAS_SAFE: i32 = 3;

/// Creates what is missing; compares the partition counts of what is there. Returns whether a topic of the log was missing:
/// then what it held is gone, and with it the places of all who read it.
pub(crate) async fn ensure(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Result<bool, Failure> {
    // Once ingest runs, whatever keeps it from the brokers may pass.
    let passing = |mut failure: Failure| {
        failure.kind = FailureKind::Unavailable;
        failure
    };
    let known = brokers::partition_counts(kafka, "admin").await.map_err(passing)?;
    let admin = admin(kafka)?;
    let (mut missing, mut lost) = (false, false);
    for spec in &specs(kafka, policy, partitions) {
        match known.get(&spec.name) {
            None => {
                missing = true;
                // One that is there after all was only not known yet: what it held is there too.
                lost |= create(&admin, kafka, spec).await? && is_of_the_log(kafka, policy, &spec.name);
            }
            Some(count) => same_count(spec, *count)?,
        }
    }
    if missing {
        all_known(kafka, &specs(kafka, policy, partitions)).await.map_err(passing)?;
    }
    Ok(lost)
}

/// Looks whether every topic is there, for as long as it is awaited: one of state that is gone is made again, and begins empty.
/// Returns the name of one of the log that is gone; then all places are void, and a new session begins a new epoch.
/// `ask`: through a client that is there anyway.
pub(crate) async fn until_one_is_gone(
    kafka: &KafkaConfig,
    policy: &Policy,
    partitions: u32,
    ask: impl Fn(Duration) -> Result<Metadata, KafkaError> + Clone + Send + 'static,
) -> String {
    let mut missed = BTreeSet::new();
    loop {
        tokio::time::sleep(if missed.is_empty() { GONE_LOOK_INTERVAL } else { GONE_LOOK_AGAIN }).await;
        // Brokers that do not answer say nothing of what they have.
        let ask = ask.clone();
        let Ok(Ok(known)) = tokio::task::spawn_blocking(move || ask(ANSWER_WAIT_MAX)).await else { continue };
        let known: BTreeSet<&str> = known.topics().iter().map(MetadataTopic::name).collect();
        let is_gone = |spec: &TopicSpec| !known.contains(&*spec.name);
        let gone: Vec<TopicSpec> = specs(kafka, policy, partitions).into_iter().filter(is_gone).collect();
        // A broker that has just started may not know all of them yet: one look is none.
        for spec in gone.iter().filter(|spec| missed.contains(&spec.name)) {
            if is_of_the_log(kafka, policy, &spec.name) {
                return spec.name.clone();
            }
            let made = async { create(&admin(kafka)?, kafka, spec).await };
            match made.await {
                Ok(true) => {
                    tracing::warn!(topic = %spec.name, "a topic was gone, and is made again: what it held is lost");
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(topic = %spec.name, %error, "a topic is gone"),
            }
        }
        missed = gone.into_iter().map(|spec| spec.name).collect();
    }
}

/// Whether places are kept in it, or what its records are read by. Any other topic may begin empty: a newer version has one
/// more, and the history goes on.
fn is_of_the_log(kafka: &KafkaConfig, policy: &Policy, name: &str) -> bool {
    let of_a_group = || policy.groups.keys().any(|group| topics::of_group(kafka, group) == name);
    [topics::CHECKPOINT, topics::SCHEMAS].iter().any(|topic| topic.name(kafka) == name) || of_a_group()
}

/// Returns once the brokers know the topics that were just made.
async fn all_known(kafka: &KafkaConfig, specs: &[TopicSpec]) -> Result<(), Failure> {
    let look = async {
        loop {
            let known = brokers::partition_counts(kafka, "admin").await?;
            if specs.iter().all(|spec| known.get(&spec.name) == Some(&(spec.partitions as usize))) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let late = || Failure::unavailable("the brokers don't know the topics that were just made");
    tokio::time::timeout(ANSWER_WAIT_MAX, look).await.map_err(|_| late())?
}

/// Every topic as it is, against what it must be.
pub async fn checks(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Vec<Check> {
    let looked = async { Ok((admin(kafka)?, brokers::partition_counts(kafka, "admin").await?)) };
    let (admin, known) = match looked.await {
        Ok(looked) => looked,
        Err(failure) => return vec![Check::new(format!("Kafka at {}", kafka.brokers), Err(failure))],
    };
    let mut checks = Vec::new();
    for spec in specs(kafka, policy, partitions) {
        let found = match known.get(&spec.name) {
            None => Ok("not there yet: ingest creates it".to_owned()),
            Some(count) => match same_count(&spec, *count) {
                Ok(()) => same_settings(&admin, &spec, kafka.replication).await,
                Err(failure) => Err(failure),
            },
        };
        checks.push(Check::new(format!("topic {}", spec.name), found));
    }
    checks
}

/// The bytes that every group's topic takes at once; `None` where that is hidden from us.
pub(crate) async fn batch_bytes_max(kafka: &KafkaConfig, policy: &Policy) -> Option<usize> {
    let admin = admin(kafka).ok()?;
    let names: Vec<String> = policy.groups.keys().map(|group| topics::of_group(kafka, group)).collect();
    let resources: Vec<ResourceSpecifier<'_>> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WAIT_MAX));
    let described = admin.describe_configs(&resources, &options).await.ok()?;
    let bytes = |resource: &ConfigResource| setting(resource, BATCH_BYTES).and_then(|value| value.parse().ok());
    described.iter().flatten().filter_map(bytes).min()
}

fn setting<'r>(resource: &'r ConfigResource, name: &str) -> Option<&'r str> {
    resource.entries.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref())
}

fn specs(kafka: &KafkaConfig, policy: &Policy, partitions: u32) -> Vec<TopicSpec> {
    topics::all(kafka, policy.groups.keys().map(|name| &**name), partitions)
}

fn admin(kafka: &KafkaConfig) -> Result<AdminClient<DefaultClientContext>, Failure> {
    let admin = topics::client(kafka, "admin").create();
    admin.map_err(|error| Failure::configuration("Kafka's settings").because(error))
}

fn same_count(spec: &TopicSpec, count: usize) -> Result<(), Failure> {
    if count as i32 == spec.partitions {
        return Ok(());
    }
    let what = format!("topic {} has {count} partitions, not {}", spec.name, spec.partitions);
    Err(Failure::configuration(what)
        .remedy("configure as many partitions as there are: the order of entities depends on the count"))
}

async fn same_settings(
    admin: &AdminClient<DefaultClientContext>,
    spec: &TopicSpec,
    replication: i32,
) -> Result<String, Failure> {
    let options = AdminOptions::new().request_timeout(Some(ANSWER_WAIT_MAX));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(&spec.name)], &options).await;
    let hidden = || Failure::configuration(format!("the settings of topic {} are hidden from us", spec.name));
    let described = described.map_err(|error| hidden().because(error))?;
    let Some(Ok(resource)) = described.into_iter().next() else {
        return Err(hidden().remedy("grant DescribeConfigs on it to our user"));
    };
    if resource.entries.is_empty() {
        return Err(hidden().remedy("grant DescribeConfigs on it to our user"));
    }
    for (name, wanted) in &spec.settings {
        let value = setting(&resource, name);
        if value != Some(*wanted) {
            let what = format!("topic {} has {name} = {}, not {wanted}", spec.name, value.unwrap_or("nothing"));
            let remedy = format!("run kafka-configs --alter --topic {} --add-config {name}={wanted}", spec.name);
            return Err(Failure::configuration(what).remedy(remedy));
        }
    }
    let in_sync: i32 = setting(&resource, IN_SYNC).and_then(|value| value.parse().ok()).unwrap_or(1);
    same_replication(&spec.name, replicas(admin, spec)?, in_sync, replication)?;
    let bytes = setting(&resource, BATCH_BYTES).unwrap_or("?");
    Ok(format!("{} partitions, records up to {bytes} bytes", spec.partitions))
}

/// Of the partition that has fewest.
fn replicas(admin: &AdminClient<DefaultClientContext>, spec: &TopicSpec) -> Result<i32, Failure> {
    let asked = admin.inner().fetch_metadata(Some(&spec.name), ANSWER_WAIT_MAX);
    let metadata = asked.map_err(|error| Failure::unavailable("Kafka").because(error))?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let fewest = partitions.map(|partition| partition.replicas().len()).min().unwrap_or_default();
    Ok(i32::try_from(fewest).unwrap_or(i32::MAX))
}

/// A topic with fewer replicas than are configured loses with one broker what the configuration says it does not; one whose
/// writes need more replicas than there are takes none. `configured` is -1 where the broker decides.
fn same_replication(topic: &str, replicas: i32, in_sync: i32, configured: i32) -> Result<(), Failure> {
    let alter = |change: &str| format!("run kafka-configs --alter --topic {topic} {change}");
    let refuse = |what: String, remedy: String| Err(Failure::configuration(what).remedy(remedy));
    if replicas < configured {
        return refuse(
            format!("topic {topic} has {replicas} replicas, not {configured}"),
            "add replicas with kafka-reassign-partitions, or configure [kafka] replication as it is".to_owned(),
        );
    }
    if configured >= REPLICAS_SAFE && in_sync < 2 {
        return refuse(
            format!("topic {topic} has {IN_SYNC} = {in_sync}: one broker that fails takes acknowledged records along"),
            alter(&format!("--add-config {IN_SYNC}=2")),
        );
    }
    if in_sync > replicas {
        return refuse(
            format!("topic {topic} has {IN_SYNC} = {in_sync} and {replicas} replicas: nothing can be written to it"),
            alter(&format!("--add-config {IN_SYNC}={}", if replicas >= REPLICAS_SAFE { 2 } else { 1 })),
        );
    }
    Ok(())
}

/// Creates a topic; `false`: it was there.
async fn create(
    admin: &AdminClient<DefaultClientContext>,
    kafka: &KafkaConfig,
    spec: &TopicSpec,
) -> Result<bool, Failure> {
    let mut topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(kafka.replication));
    for (name, value) in &spec.settings {
        topic = topic.set(name, value);
    }
    if kafka.replication >= REPLICAS_SAFE {
        topic = topic.set("min.insync.replicas", "2");
    }
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WAIT_MAX)).request_timeout(Some(ANSWER_WAIT_MAX));
    let refuse = || {
        Failure::configuration(format!("can't create topic {}", spec.name))
            .remedy("create it by hand, or allow it to our user")
    };
    let away = |error| Failure::unavailable(format!("creating topic {}", spec.name)).because(error);
    let results = admin.create_topics([&topic], &options).await.map_err(away)?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => Err(refuse().because(code)),
        _ => {
            tracing::info!(topic = %spec.name, partitions = spec.partitions, "topic created");
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_as_many_as_configured_and_as_writes_need() {
        let check = |replicas, in_sync, configured, expected: Option<&str>| {
            let said = same_replication("t", replicas, in_sync, configured).err().map(|failure| failure.to_string());
            let fits = match (&said, expected) {
                (Some(said), Some(expected)) => said.contains(expected),
                (said, expected) => said.is_none() && expected.is_none(),
            };
            assert!(fits, "{replicas} {in_sync} {configured}: {said:?}");
        };
        check(3, 2, 3, None);
        check(5, 2, 3, None);
        check(1, 1, 1, None);
        check(1, 1, -1, None);
        check(1, 1, 3, Some("1 replicas, not 3"));
        check(3, 1, 3, Some("min.insync.replicas = 1: one broker that fails"));
        check(2, 1, 2, None);
        check(1, 2, -1, Some("min.insync.replicas = 2 and 1 replicas: nothing can be written"));
        check(3, 4, 3, Some("--add-config min.insync.replicas=2"));
    }

    #[test]
    fn only_what_the_log_consists_of_is_missed() {
        let policy = Policy::parse(lockstep_schemas::policy::DEFAULT).expect("the default policy");
        let kafka = KafkaConfig {
            brokers: String::new(),
            topic_prefix: "shop".to_owned(),
            replication: -1,
            tls: false,
            ca_file: None,
            sasl: None,
        };
        let of_the_log =
            specs(&kafka, &policy, 4).into_iter().filter(|spec| is_of_the_log(&kafka, &policy, &spec.name));
        let mut names: Vec<String> = of_the_log.map(|spec| spec.name).collect();
        names.sort();
        assert_eq!(names, ["shop.catalogue", "shop.checkpoint", "shop.customers", "shop.sales", "shop.schemas"]);
        for topic in [topics::SWITCHES, topics::PARKED, topics::PROGRESS, topics::HOT, topics::VIEWS] {
            assert!(!is_of_the_log(&kafka, &policy, &topic.name(&kafka)), "{topic:?}");
        }
    }
}
