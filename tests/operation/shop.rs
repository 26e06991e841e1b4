//! A shop of one's own: servers, and those who write to its database and read its pages.

#![allow(dead_code, reason = "each of the test binaries uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use lockstep_stack::{Endpoints, Service, Stack, StackOptions};

use crate::harness::Lockstep;

pub const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What an operator may count on, from SIGTERM to the end.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Servers, and `lockstep` pointed at them.
pub struct Shop {
    stack: Stack,
    pub lockstep: Lockstep,
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
        Shop { stack, lockstep, _folder: folder }
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    pub fn kill(&mut self, service: Service) {
        self.stack.kill(service).expect("a killed service");
    }

    pub fn restart(&mut self, service: Service) {
        self.stack.restart(service).expect("a service that serves again");
    }

    /// What the database answers; `None` where it does not, or refuses.
    pub fn try_sql(&self, statement: &str) -> Option<String> {
        self.sql_by(&self.endpoints().database_url, statement)
    }

    /// The same, asked by another role.
    pub fn sql_as(&self, role: &str, statement: &str) -> Option<String> {
        self.sql_by(&self.endpoints().database_url.replace("//postgres@", &format!("//{role}@")), statement)
    }

    fn sql_by(&self, url: &str, statement: &str) -> Option<String> {
        let output = psql(url, statement).output().expect("psql");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// What the database answers.
    pub fn sql(&self, statement: &str) -> String {
        let output = psql(&self.endpoints().database_url, statement).output().expect("psql");
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
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
