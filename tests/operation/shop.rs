//! A shop of one's own: servers, and those who write to its database and read its pages.

#![allow(dead_code, reason = "each of the test binaries uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use lockstep_stack::{Endpoints, Service, Stack, StackOptions};

use crate::harness::Lockstep;

pub const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
/// From a cluster node's port to the one by which nodes speak with one another.
const BUS_OFFSET: u16 = 10_000;
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What an operator may count on, from SIGTERM to the end.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Servers, and `lockstep` pointed at them.
pub struct Shop {
    stack: Stack,
    pub lockstep: Lockstep,
    /// The database that is asked.
    database_url: String,
    _folder: tempfile::TempDir,
}

/// An answer over HTTP: its head and its body.
pub struct Page {
    head: String,
    pub body: String,
}

impl Shop {
    pub fn start(options: StackOptions) -> Self {
        let started = Stack::start(options, &mut |line| eprintln!("{line}"));
        let stack = started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let folder = tempfile::tempdir().expect("a folder");
        let lockstep = Lockstep::new(folder.path()).exports(&stack.endpoints().exports());
        let database_url = stack.endpoints().database_url.clone();
        Shop { stack, lockstep, database_url, _folder: folder }
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    pub fn kill(&mut self, service: Service) {
        self.stack.kill(service).expect("a killed service");
    }

    /// Tells clients of L1 to come to these ports, a node each; the nodes go on to speak with one another as before.
    pub fn announce(&self, ports: &[u16]) {
        for (url, port) in self.endpoints().l1.iter().zip(ports) {
            let bus = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
            let bus = bus.expect("a port") + BUS_OFFSET;
            self.redis(url, &format!("CONFIG SET cluster-announce-bus-port {bus} cluster-announce-port {port}"));
        }
    }

    /// The process that serves.
    pub fn pid(&self, service: Service) -> u32 {
        self.endpoints().pids[&service.to_string()]
    }

    pub fn promote_standby(&mut self) {
        self.stack.promote_standby().expect("a promoted standby");
    }

    pub fn restart(&mut self, service: Service) {
        self.stack.restart(service).expect("a service that serves again");
    }

    /// What the database answers; `None` where it does not, or refuses.
    pub fn try_sql(&self, statement: &str) -> Option<String> {
        self.sql_by(&self.database_url, statement)
    }

    /// The same, asked by another role.
    pub fn sql_as(&self, role: &str, statement: &str) -> Option<String> {
        self.sql_by(&self.database_url.replace("//postgres@", &format!("//{role}@")), statement)
    }

    fn sql_by(&self, url: &str, statement: &str) -> Option<String> {
        let output = psql(url, statement).output().expect("psql");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What the database answers.
    pub fn sql(&self, statement: &str) -> String {
        self.sql_at(&self.database_url, statement)
    }

    /// What a node of Redis answers to a command without spaces in its words.
    pub fn redis(&self, url: &str, command: &str) -> String {
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("a node");
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("a limit");
        write!(stream, "{command}\r\n").expect("a command");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        assert!(!line.starts_with('-'), "{command}: {line}");
        line.trim_end().to_owned()
    }

    /// What another server answers.
    pub fn sql_at(&self, url: &str, statement: &str) -> String {
        let output = psql(url, statement).output().expect("psql");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// The shop's database is another one from now on.
    pub fn move_to(&mut self, url: &str) {
        url.clone_into(&mut self.database_url);
        self.lockstep = self.lockstep.clone().set("LOCKSTEP_DATABASE_URL", url);
    }

    /// The database that is asked.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Commits, and gives an LSN that lies past the commit.
    pub fn commit(&self, statement: &str) -> String {
        self.sql(statement);
        self.sql("SELECT pg_current_wal_insert_lsn()")
    }
}

/// Asks the database one thing.
pub fn psql(url: &str, statement: &str) -> Command {
    let mut psql = Command::new(PSQL);
    psql.args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]);
    psql
}

impl Page {
    /// `None`: nobody answers.
    pub fn get(server: &str, path: &str) -> Option<Page> {
        let address = server.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some(Page { head: head.to_owned(), body: body.to_owned() })
    }

    pub fn is_ok(&self) -> bool {
        self.head.starts_with("HTTP/1.1 200 ")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// A column of a product's page.
    pub fn number(&self, column: &str) -> Option<i64> {
        serde_json::from_str::<serde_json::Value>(&self.body).ok()?[column].as_i64()
    }
}
