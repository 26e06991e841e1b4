//! A stack in the background.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs};

use lockstep_stack::detached::{self, Down};
use lockstep_stack::{Services, StackError, StackOptions};

use crate::processes::{NONE, again, processes_in, wait_until};

const STATE: &str = "LOCKSTEP_STACK_TEST_STATE";
const JARS: &str = "LOCKSTEP_STACK_TEST_JARS";

fn holder(state: &Path) -> Command {
    let mut command = again("detached::hold_detached");
    command.env(STATE, state);
    command
}

#[test]
fn a_detached_stack_runs_until_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    assert_eq!(detached::running(&state), None);
    assert_eq!(detached::down(&state).expect("nothing to stop"), Down::NothingRan);

    let mut said = Vec::new();
    let up = detached::up(&state, holder(&state), &mut |line| said.push(line.to_owned()));
    let endpoints = up.expect("a stack");
    assert!(said.iter().any(|line| line.starts_with("redis (L2) is up (")), "{said:?}");
    assert_eq!(detached::running(&state).as_ref(), Some(&endpoints));
    assert_eq!(processes_in(&endpoints.dir).len(), 1);

    let again = detached::up(&state, holder(&state), &mut |_| {}).expect_err("one is enough");
    assert!(matches!(again, StackError::AlreadyRunning { .. }));
    assert!(again.to_string().contains("`lockstep stack down`"));

    assert_eq!(detached::down(&state).expect("an end"), Down::Stopped);
    assert_eq!(detached::running(&state), None);
    assert_eq!(processes_in(&endpoints.dir), NONE);
    assert!(!endpoints.dir.exists());
    assert!(!state.join("stack.json").exists());
}

#[test]
fn a_killed_holder_leaves_nothing_that_matters() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    let endpoints = detached::up(state, holder(state), &mut |_| {}).expect("a stack");
    let holder_pid = fs::read_to_string(state.join("lock")).expect("the holder's id");
    let killed = Command::new("kill").args(["-9", &holder_pid]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert!(wait_until(Duration::from_secs(5), || detached::running(state).is_none()));
    let second = detached::up(state, holder(state), &mut |_| {}).expect("a second stack");
    assert_eq!(processes_in(&endpoints.dir), NONE);
    assert!(!endpoints.dir.exists());
    assert_ne!(second.dir, endpoints.dir);
    assert_eq!(detached::down(state).expect("an end"), Down::Stopped);
}

#[test]
fn a_detached_stack_that_fails_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    let failing = || {
        let mut command = holder(state);
        command.env(JARS, "/nonexistent");
        command
    };
    let error = detached::up(state, failing(), &mut |_| {}).expect_err("no jars");
    assert!(error.to_string().contains("no kafka broker in /nonexistent"), "{error}");
    assert_eq!(detached::running(state), None);
}

/// The holder of the tests above.
#[test]
#[ignore = "only as a child of another test"]
fn hold_detached() {
    let Some(state) = env::var_os(STATE) else { return };
    let jars: Option<OsString> = env::var_os(JARS);
    let services = Services { l2: jars.is_none(), kafka: jars.is_some(), ..Services::NONE };
    let kafka_jars = jars.unwrap_or_default().into();
    let options = StackOptions { services, kafka_jars, ..StackOptions::default() };
    detached::hold(Path::new(&state), options).expect("a held stack");
}
