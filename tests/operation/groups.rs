//! The lag of consumer groups, as Kafka's own tool tells it.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Lockstep, Program};

const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TOOL_LIMIT: Duration = Duration::from_secs(60);

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
    let mut command = lockstep.other("java");
    let class_path = jars().join("*");
    command.arg("-XX:TieredStopAtLevel=1").arg("-cp").arg(class_path).args([TOOL, "--bootstrap-server", kafka]);
    command.arg("--describe").args(["l2", "l1", "l3"].map(|tier| format!("--group=lockstep-{tier}")));
    let ended = Program::start(command).wait(TOOL_LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
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

fn jars() -> PathBuf {
    let cache = std::env::var_os("LOCKSTEP_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME or LOCKSTEP_CACHE")).join(".cache/lockstep");
    let jars = cache.unwrap_or_else(home).join("kafka-tools-4.3.1/lib");
    assert!(jars.is_dir(), "there is no {}: run scripts/bootstrap", jars.display());
    jars
}
