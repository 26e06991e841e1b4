//! A stack in the background, by the commands that a person types.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::case::{Case, SERVICE_AWAY, check};
use crate::harness::lockstep::program;
use crate::harness::{Lockstep, Program};

const VARIABLES: [&str; 6] = [
    "LOCKSTEP_DATABASE_URL",
    "LOCKSTEP_KAFKA_BROKERS",
    "LOCKSTEP_L2_URL",
    "LOCKSTEP_L1_URLS",
    "LOCKSTEP_EDGE_URL",
    "LOCKSTEP_GATEWAY_LISTEN",
];

/// Takes the stack down, also where the test fails before it does.
struct Down(Lockstep);

impl Drop for Down {
    fn drop(&mut self) {
        self.0.run(&["stack", "down"]);
    }
}

#[test]
fn a_stack_goes_up_and_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let lockstep = Lockstep::new(folder.path()).set("LOCKSTEP_STACK_STATE", state.to_str().expect("a path in UTF-8"));
    assert_eq!(lockstep.ask(&["stack", "down"]), "no stack was running\n");

    let down = Down(lockstep.clone());
    let up = lockstep.ask(&["stack", "up", "--state", state.to_str().expect("a path in UTF-8")]);
    for variable in VARIABLES {
        assert!(up.contains(&format!("\nexport {variable}=")), "{variable} is not in {up}");
    }
    let servers = servers(&up);
    assert!(!processes_in(&servers).is_empty());
    check(
        &lockstep,
        &[Case::new("a second stack", "stack up")
            .fails(SERVICE_AWAY, &["a stack runs already", "`lockstep stack down`"])],
    );

    // As a shell takes it: the words around the exports are comments.
    let mut shell = lockstep.other("sh");
    shell.arg("-ec").arg("eval \"$UP\"; exec \"$PROGRAM\" migrate");
    shell.env("UP", &up).env("PROGRAM", program());
    let migrated = Program::start(shell).wait(std::time::Duration::from_secs(30));
    assert_eq!(migrated.code, Some(0), "{migrated}");

    let addresses = addresses(&up);
    assert!(addresses.len() >= 10, "{addresses:?}");
    assert_eq!(lockstep.ask(&["stack", "down"]), "the stack is down\n");
    assert!(!servers.exists(), "{} is left", servers.display());
    assert_eq!(processes_in(&servers), Vec::<u32>::new(), "processes are left");
    for address in addresses {
        assert!(TcpStream::connect(&address).is_err(), "{address} still answers");
    }
    assert_eq!(lockstep.ask(&["stack", "down"]), "no stack was running\n");
    drop(down);
}

/// The folder in `# the stack is up, in /tmp/...; `.
fn servers(up: &str) -> PathBuf {
    let folder = up.lines().find_map(|line| line.strip_prefix("# the stack is up, in ")?.split(';').next());
    PathBuf::from(folder.unwrap_or_else(|| panic!("no folder in {up}")))
}

/// Every `127.0.0.1:<port>` that is exported, but for the gateway's, which nobody has started.
fn addresses(up: &str) -> Vec<String> {
    let exports = up.lines().filter(|line| line.starts_with("export ") && !line.contains("GATEWAY"));
    let parts = exports.flat_map(|line| line.split("127.0.0.1:").skip(1));
    let ports = parts.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    ports.map(|port| format!("127.0.0.1:{port}")).collect()
}

/// The processes that run in a folder: all servers of a stack do, and so do their children.
fn processes_in(folder: &Path) -> Vec<u32> {
    let runs_there = |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(runs_there).collect()
}
