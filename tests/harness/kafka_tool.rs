//! Kafka's own tools, as an operator runs them.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::Lockstep;
use crate::harness::Program;
use crate::harness::program::Ended;

const PACKAGE: &str = "org.apache.kafka.tools";
const LIMIT: Duration = Duration::from_secs(60);
/// A tool lives for a second, and runs mostly what it runs once.
const QUICK: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// Runs a tool to its end, which must be a good one.
pub fn run<'a>(lockstep: &Lockstep, tool: &str, arguments: impl IntoIterator<Item = &'a str>) -> Ended {
    let mut command = lockstep.other("java");
    command.args(QUICK).arg("-cp").arg(jars().join("*")).arg(format!("{PACKAGE}.{tool}")).args(arguments);
    let ended = Program::start(command).wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{tool}: {ended}");
    ended
}

fn jars() -> PathBuf {
    let cache = std::env::var_os("LOCKSTEP_CACHE").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME or LOCKSTEP_CACHE")).join(".cache/lockstep");
    let jars = cache.unwrap_or_else(home).join("kafka-tools-4.3.1/lib");
    assert!(jars.is_dir(), "there is no {}: run scripts/bootstrap", jars.display());
    jars
}
