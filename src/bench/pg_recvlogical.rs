//! PostgreSQL's own reader of the log: the reference of all that read it.

use std::process::Stdio;

use tokio::process::Command;

const PROGRAM: &str = "/usr/lib/postgresql/15/bin/pg_recvlogical";

/// Drains a slot to an LSN, into a file that keeps nothing.
pub(super) fn command(database_url: &str, slot: &str, publication: &str, end: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--dbname", database_url, "--slot", slot, "--start", "--endpos", end]);
    command.args(["--file", "/dev/null", "--fsync-interval", "0", "--status-interval", "1"]);
    command.args(["-o", "proto_version=1", "-o", &format!("publication_names={publication}")]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}
