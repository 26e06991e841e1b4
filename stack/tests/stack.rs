//! The stack, asked from outside. The parts of a stack that end with their parent are held by this binary again,
//! run for the one ignored test below.

#![allow(clippy::disallowed_methods, reason = "no runtime here: a thread may sleep")]

#[path = "stack/detached.rs"]
mod detached;
#[path = "stack/edge.rs"]
mod edge;
#[path = "stack/processes.rs"]
mod processes;
#[path = "stack/secured.rs"]
mod secured;
#[path = "stack/standby.rs"]
mod standby;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use lockstep_stack::{Endpoints, Service, Services, Stack, StackError, StackOptions};

use crate::processes::{NONE, again, processes_in, wait_until};

const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
const HOLD: &str = "LOCKSTEP_STACK_TEST_HOLD";

fn start(options: StackOptions) -> Stack {
    let started = Stack::start(options, &mut |line| eprintln!("{line}"));
    started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}

fn port(url: &str) -> u16 {
    let authority = url.rsplit_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().expect("a first part");
    let (_, port) = authority.rsplit_once(':').expect("a port");
    port.parse().expect("a number")
}

fn redis(url: &str, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port(url))).expect("a listening node");
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).expect("a written command");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let answer = answer.strip_suffix("+OK\r\n").expect("an answer to QUIT");
    answer.trim_end().to_owned()
}

/// What PostgreSQL answers to one statement, or says against it.
fn psql(url: &str, statement: &str) -> Result<String, String> {
    let output = Command::new(PSQL).args(["-XAtqw", "-d", url, "-c", statement]).output();
    let output = output.expect("psql");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

#[test]
fn a_stack_serves_and_ends() {
    let began = Instant::now();
    let mut stack = start(StackOptions::default());
    eprintln!("all up after {:.1} s", began.elapsed().as_secs_f64());
    let endpoints = stack.endpoints().clone();

    let settings = "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN \
        ('fsync', 'max_replication_slots', 'synchronous_commit', 'track_commit_timestamp', 'wal_level')";
    let expected = "on 10 on on logical";
    assert_eq!(psql(&endpoints.database_url, settings), Ok(expected.into()));
    assert_eq!(redis(&endpoints.l2, "PING"), "+PONG");
    for url in &endpoints.l1 {
        assert_eq!(redis(url, "PING"), "+PONG");
        assert!(redis(url, "CLUSTER INFO").contains("cluster_state:ok"));
    }
    assert!(redis(&endpoints.l1[0], "ROLE").contains("master"));
    assert!(redis(&endpoints.l1[3], "ROLE").contains("slave"));
    assert!(stack.serves(Service::Kafka));
    edge::check(&endpoints);

    assert_eq!(redis(&endpoints.l2, "SET key value"), "+OK");
    for service in [Service::L2, Service::L1(0), Service::Varnish, Service::Postgres, Service::Kafka] {
        stack.kill(service).expect("a killed service");
        assert!(!stack.serves(service));
        assert!(!stack.endpoints().pids.contains_key(&service.to_string()));
        stack.restart(service).expect("a restarted service");
        assert!(stack.serves(service));
    }
    assert_eq!(redis(&endpoints.l2, "GET key"), "$-1");
    assert_eq!(psql(&endpoints.database_url, "SELECT 1"), Ok("1".into()));

    assert!(processes_in(&endpoints.dir).len() > endpoints.pids.len());
    let began = Instant::now();
    drop(stack);
    eprintln!("all down after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(processes_in(&endpoints.dir), NONE);
    assert!(!endpoints.dir.exists());
}

#[test]
fn a_killed_parent_takes_its_stack_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("endpoints.json");
    let mut parent = again("hold_for_another_test").env(HOLD, &file).spawn().expect("a parent");
    let limit = Duration::from_secs(60);
    assert!(wait_until(limit, || file.exists()), "the stack did not start");
    let text = fs::read_to_string(&file).expect("the endpoints");
    let endpoints: Endpoints = serde_json::from_str(&text).expect("the endpoints");
    assert_eq!(endpoints.pids.len(), 10);
    assert!(processes_in(&endpoints.dir).len() > endpoints.pids.len());

    parent.kill().expect("a killed parent");
    parent.wait().expect("a killed parent");
    let began = Instant::now();
    let left = || processes_in(&endpoints.dir);
    assert!(wait_until(Duration::from_secs(5), || left().is_empty()), "{:?} live on", left());
    eprintln!("all gone after {:.2} s", began.elapsed().as_secs_f64());
    fs::remove_dir_all(&endpoints.dir).expect("the folder that a killed parent leaves");
}

/// The parent of the test above.
#[test]
#[ignore = "only as a child of another test"]
fn hold_for_another_test() {
    let Some(file) = env::var_os(HOLD) else { return };
    let stack = start(StackOptions::default());
    let text = serde_json::to_string(stack.endpoints()).expect("json");
    let unfinished = format!("{}.unfinished", file.display());
    fs::write(&unfinished, text).expect("a written file");
    fs::rename(unfinished, file).expect("a renamed file");
    loop {
        std::thread::park();
    }
}

#[test]
fn postgres_asks_for_its_password() {
    let services = Services { postgres: true, ..Services::NONE };
    let postgres_password = Some("it's /secret".into());
    let postgres_settings = vec![("shared_buffers".into(), "16MB".into())];
    let options = StackOptions { services, postgres_password, postgres_settings, ..StackOptions::default() };
    let stack = start(options);
    let url = &stack.endpoints().database_url;
    assert_eq!(psql(url, "SHOW shared_buffers"), Ok("16MB".into()));
    let guessed = url.replace("%2Fsecret", "guessed");
    assert!(psql(&guessed, "SELECT 1").expect_err("a refusal").contains("password"));
}

#[test]
fn l2_keeps_its_entries_where_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = Services { l2: true, ..Services::NONE };
    let dir = Some(folder.path().join("stack"));
    let options = StackOptions { services, dir: dir.clone(), redis_l2_persist: true, ..StackOptions::default() };
    let mut stack = start(options.clone());
    let l2 = stack.endpoints().l2.clone();
    assert_eq!(redis(&l2, "SET key value"), "+OK");
    stack.kill(Service::L2).expect("a killed service");
    stack.restart(Service::L2).expect("a restarted service");
    assert_eq!(redis(&l2, "GET key"), "$5\r\nvalue");
    assert!(matches!(stack.kill(Service::L1(0)), Err(StackError::NotPart { .. })));
    stack.stop();

    // A folder that was named is kept, and not used again.
    assert!(dir.is_some_and(|dir| dir.join("logs/l2.log").exists()));
    let again = Stack::start(options, &mut |_| {});
    assert!(matches!(again, Err(StackError::FolderInUse { .. })));
}

#[test]
fn a_broken_start_tells_why() {
    let services = Services { postgres: true, ..Services::NONE };
    let postgres_settings = vec![("wal_level".into(), "nonsense".into())];
    let options = StackOptions { services, postgres_settings, ..StackOptions::default() };
    let Err(error) = Stack::start(options, &mut |_| {}) else { panic!("nonsense was taken") };
    let text = error.to_string();
    assert!(text.contains("wal_level") && text.contains("scripts/bootstrap"), "{text}");

    let services = Services { kafka: true, ..Services::NONE };
    let options = StackOptions { services, kafka_jars: "/nonexistent".into(), ..StackOptions::default() };
    let Err(error) = Stack::start(options, &mut |_| {}) else { panic!("a broker without jars") };
    let text = error.to_string();
    assert!(text.contains("/nonexistent") && text.contains("scripts/bootstrap"), "{text}");
}
