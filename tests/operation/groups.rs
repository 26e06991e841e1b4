//! The lag of consumer groups, as Kafka's own tool tells it.

use crate::harness::Lockstep;
use crate::harness::kafka_tool;

const TOOL: &str = "consumer.group.ConsumerGroupCommand";

/// One partition of a group.
#[derive(Debug)]
pub struct Lag {
    pub group: String,
    pub topic: String,
    pub partition: u32,
    /// Applied up to here.
    pub current: i64,
    /// The log's end.
    pub end: i64,
    /// What the tool makes of it.
    pub lag: i64,
}

/// Asks for the three groups at once.
pub fn describe(lockstep: &Lockstep, kafka: &str) -> Vec<Lag> {
    let groups = ["l2", "l1", "l3"].map(|tier| format!("--group=lockstep-{tier}"));
    let arguments = ["--bootstrap-server", kafka, "--describe"].into_iter().chain(groups.iter().map(String::as_str));
    let ended = kafka_tool::run(lockstep, TOOL, arguments);
    ended.stdout.lines().filter_map(row).collect()
}

/// `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID`.
fn row(line: &str) -> Option<Lag> {
    let cells: Vec<&str> = line.split_whitespace().collect();
    let [group, topic, partition, current, end, lag, ..] = cells[..] else { return None };
    Some(Lag {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition: partition.parse().ok()?,
        current: current.parse().ok()?,
        end: end.parse().ok()?,
        lag: lag.parse().ok()?,
    })
}
