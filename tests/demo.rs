//! The demo proves itself: what it plants it finds, what is killed in it costs no copy its truth, and at full length
//! it compares enough, of a pipeline that works as it is meant to.

mod harness;
#[path = "demo/secrecy.rs"]
mod secrecy;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::harness::process::{is_alive, send};
use crate::harness::{Lockstep, Program};
use crate::secrecy::{ADDRESS, Backstage};

/// From nothing to an open shop, where servers and compilers are slow.
const OPEN_LIMIT: Duration = Duration::from_secs(120);
/// A role that was killed is back after a pause of four seconds.
const BACK_LIMIT: Duration = Duration::from_secs(30);
/// The end of the longest traffic, the catching up and the comparison.
const END_LIMIT: Duration = Duration::from_secs(240);

const TIERS: [&str; 3] = ["l2", "l1", "edge"];
const ROLES: [&str; 4] = ["ingest", "engine", "gateway", "forecast,warmer"];

/// What the result must have, each a number.
const FIELDS: [&str; 24] = [
    "/changes",
    "/entries_compared/l2",
    "/entries_compared/l1",
    "/entries_compared/edge",
    "/stale_entries",
    "/refreshed",
    "/dropped",
    "/reads",
    "/reads_from_database",
    "/hit_ratio/l1",
    "/hit_ratio/l2",
    "/hit_ratio/edge",
    "/second_half/reads",
    "/second_half/reads_from_database",
    "/backwards",
    "/commit_to_ms/l2/p50",
    "/commit_to_ms/l2/p99",
    "/commit_to_ms/l1/p50",
    "/commit_to_ms/l1/p99",
    "/commit_to_ms/edge/p50",
    "/commit_to_ms/edge/p99",
    "/wrote_for_s",
    "/caught_up_s",
    "/set_up_s",
];

#[test]
fn what_is_planted_is_found_and_nothing_private_is_told() {
    let demo = Demo::start(&["--for", "30s", "--plant", "3"]);
    demo.open_for(2);
    let backstage = Backstage::of(demo.pid("engine"));
    backstage.check_that_it_is_there();
    let commands = backstage.said_by_commands();
    let (code, result, lines) = demo.end();
    let logs = backstage.logs();
    assert!(logs.contains("streaming") && commands.contains("checks, 0 failed"), "{commands}");
    for said in [&logs, &commands, &lines, &result.to_string()] {
        assert!(!said.contains(ADDRESS), "an address is told: {said}");
    }
    let masked = lines.lines().filter(|line| line.contains(" user:") && line.contains("name is `private:")).count();
    assert_eq!(masked, 1, "one name was planted, and is told as a mask: {lines}");
    assert_eq!(code, Some(1), "stale copies are a failure:\n{lines}");
    for field in FIELDS {
        let value = result.pointer(field).unwrap_or_else(|| panic!("the result has no {field}: {result}"));
        assert!(value.is_number(), "{field} is {value}");
    }

    let planted: BTreeSet<(&str, &str)> = lines.lines().filter_map(planted).collect();
    let listed = result["stale"]["listed"].as_array().expect("a list");
    let listed: BTreeSet<(&str, &str)> = listed.iter().map(|one| (text(one, "tier"), text(one, "key"))).collect();
    assert_eq!(planted, listed, "{lines}");
    for tier in TIERS {
        assert_eq!(planted.iter().filter(|(of, _)| *of == tier).count(), 3, "planted in {tier}: {planted:?}");
        assert_eq!(result["stale"][tier], 3, "{result}");
    }
    assert_eq!(result["stale_entries"], 9, "{result}");
}

#[test]
fn killed_roles_come_back_and_no_copy_is_stale() {
    let demo = Demo::start(&["--for", "30s"]);
    demo.open_for(8);
    let unapplied = demo.kill("engine", "records unapplied");
    assert!(unapplied >= 2_000, "{unapplied} records unapplied are too few to prove a thing: raise --rate");
    let unpublished = demo.kill("ingest", "changes unpublished");
    assert!(unpublished >= 2_000, "{unpublished} changes unpublished");
    eprintln!("{unapplied} records unapplied, {unpublished} changes unpublished");
    let (code, result, lines) = demo.end();
    assert_eq!(code, Some(0), "{lines}");
    assert_eq!(result["stale_entries"], 0, "{result}");
    assert_eq!(result["backwards"], 0, "{result}");
    assert!(number(&result, "/changes") > (unapplied + unpublished) as f64, "{result}");
    assert!(number(&result, "/entries_compared/l2") >= 4_000.0, "{result}");
}

#[test]
#[ignore = "only the tier beneath differs"]
fn with_l2_as_a_cluster_what_is_planted_is_found_and_nothing_else() {
    let demo = Demo::start(&["--for", "15s", "--plant", "3", "--l2-cluster"]);
    let (code, result, lines) = demo.end();
    assert_eq!((code, result["stale_entries"].as_u64()), (Some(1), Some(9)), "{lines}");
    let planted: BTreeSet<(&str, &str)> = lines.lines().filter_map(planted).collect();
    let listed = result["stale"]["listed"].as_array().expect("a list");
    let listed: BTreeSet<(&str, &str)> = listed.iter().map(|one| (text(one, "tier"), text(one, "key"))).collect();
    assert_eq!(planted, listed, "keys are told as without a cluster: {lines}");
    let of_l2 = |(tier, key): &&(&str, &str)| *tier == "l2" && key.starts_with("product:all:");
    assert_eq!(planted.iter().filter(of_l2).count(), 3, "{planted:?}");
    assert_eq!(result["backwards"], 0, "{result}");
    assert!(number(&result, "/entries_compared/l2") >= 4_000.0, "{result}");
}

#[test]
#[ignore = "takes a minute and a half"]
fn a_minute_of_the_shop() {
    let (code, result, lines) = Demo::start(&[]).end();
    assert_eq!(code, Some(0), "{lines}");
    assert_eq!(result["stale_entries"], 0, "{result}");
    assert_eq!(result["backwards"], 0, "{result}");
    let least = [("/changes", 50_000.0), ("/entries_compared/l2", 4_000.0), ("/entries_compared/l1", 900.0)];
    for (field, least) in least.into_iter().chain([("/entries_compared/edge", 500.0)]) {
        assert!(number(&result, field) >= least, "{field} is below {least}: {result}");
    }
    let reads = number(&result, "/second_half/reads");
    let without = reads - number(&result, "/second_half/reads_from_database");
    assert!(reads > 0.0 && without / reads >= 0.95, "{without} of {reads} late reads without the database: {result}");
    assert!(number(&result, "/refreshed") >= number(&result, "/dropped"), "{result}");
}

/// A demo that runs. Two side by side would only take each other's time, so each waits for the one before.
struct Demo {
    program: Program,
    _folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().expect("a folder");
        // More than an operator sees: what is not told there is told nowhere.
        let log = "info,lockstep=debug,sqlx=debug,redis=debug,librdkafka=warn";
        let lockstep = Lockstep::new(folder.path()).set("LOCKSTEP_LOG", log);
        let program = lockstep.start(&[&["demo", "-o", "json"], arguments].concat());
        Demo { program, _folder: folder, _turn: turn }
    }

    /// Returns when the shop has been open for so many seconds.
    fn open_for(&self, seconds: u64) {
        let passed = |line: &str| {
            let (passed, rest) = line.split_once(" s  ")?;
            (rest.contains("changes/s") && passed.trim().parse::<u64>().ok()? >= seconds).then_some(())
        };
        self.program.line(&format!("second {seconds} of the shop"), OPEN_LIMIT, passed);
    }

    /// The process of a role, once it runs.
    fn pid(&self, role: &str) -> u32 {
        self.program.line(&format!("the pid of {role}"), OPEN_LIMIT, |line| pid_in(line, role, "up"))
    }

    /// Kills a role, and returns how much it had to catch up with when it came back.
    fn kill(&self, role: &str, of_what: &str) -> u64 {
        send(self.pid(role), libc::SIGKILL);
        let died = format!("{role} died (signal 9)");
        self.program.line(&died, BACK_LIMIT, |line| (line == died).then_some(()));
        let back = |line: &str| {
            pid_in(line, role, "back")?;
            let (_, missed) = line.split_once("): ")?;
            missed.strip_suffix(of_what)?.trim().replace(',', "").parse().ok()
        };
        self.program.line(&format!("{role} to be back, with {of_what}"), BACK_LIMIT, back)
    }

    /// Waits for the end: the exit code, the result, and the lines for people.
    fn end(self) -> (Option<i32>, Value, String) {
        let ended = self.program.wait(END_LIMIT);
        let pids = ended.stderr.lines().flat_map(|line| ROLES.map(|role| pid_in(line, role, "up")));
        let pids: Vec<u32> = pids.flatten().collect();
        assert_eq!(pids.len(), ROLES.len(), "{ended}");
        let left: Vec<u32> = pids.into_iter().filter(|pid| is_alive(*pid)).collect();
        assert!(left.is_empty(), "{left:?} outlived the demo");
        eprintln!("{}", ended.stdout);
        assert_eq!(ended.stdout.lines().count(), 1, "one object on a line of its own, and nothing else: {ended}");
        let result = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"));
        (ended.code, result, ended.stderr)
    }
}

/// The process id in `engine is up (pid 42), 0.4 s`.
fn pid_in(line: &str, role: &str, is: &str) -> Option<u32> {
    let rest = line.strip_prefix(role)?.strip_prefix(&format!(" is {is} (pid "))?;
    rest.split_once(')')?.0.parse().ok()
}

/// The tier and the key in `  planted  l2   product:all:10080: price_pence 86`.
fn planted(line: &str) -> Option<(&str, &str)> {
    let (tier, rest) = line.trim_start().strip_prefix("planted  ")?.split_once(' ')?;
    Some((tier, rest.trim_start().rsplit_once(": ")?.0))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

fn number(result: &Value, field: &str) -> f64 {
    result.pointer(field).and_then(Value::as_f64).unwrap_or_else(|| panic!("{field} in {result}"))
}
