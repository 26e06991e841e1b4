//! A secured shop, and `lockstep` with the least rights in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lockstep_stack::{Endpoints, Secured, Services, Stack, StackOptions};

use crate::case::{PASSWORD, SECRET};
use crate::harness::Lockstep;

const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
/// The roles that `lockstep setup --print-sql` makes, for ingest and for who reads rows.
pub const USER: &str = "lockstep_ingest";
pub const READER: &str = "lockstep_reader";

/// How a password reaches a process.
#[derive(Clone, Copy)]
pub enum By {
    Environment,
    File,
}

pub struct Shop {
    stack: Stack,
    /// Has an authority of its own, and no server.
    stranger: Stack,
    folder: tempfile::TempDir,
}

impl Shop {
    /// The two servers that ask who we are.
    pub fn start() -> Self {
        let services = Services { postgres: true, kafka: true, ..Services::NONE };
        Self::with(secured(services, Secured::default()))
    }

    /// All services, and a Kafka in which these may do what they are allowed to, and nothing else.
    pub fn of_users(users: Vec<String>) -> Self {
        Self::with(secured(
            Services::default(),
            Secured { kafka_users: users, kafka_authorizes: true, ..Secured::default() },
        ))
    }

    fn with(stack: Stack) -> Self {
        let stranger = secured(Services::NONE, Secured::default());
        let shop = Shop { stack, stranger, folder: tempfile::tempdir().expect("a folder") };
        fs::write(shop.password_file(), format!("{PASSWORD}\n")).expect("a written file");
        shop.set_up();
        shop
    }

    /// What an operator does: the shop's tables, and what `setup` prints.
    fn set_up(&self) {
        let admin = self.lockstep().set("LOCKSTEP_DATABASE_URL", &self.admin_url());
        assert_eq!(admin.ask(&["migrate"]), "the database is up to date\n");
        let setup = admin.ask(&["setup", "--print-sql"]);
        self.sql(&format!("DROP PUBLICATION lockstep; {setup}; ALTER ROLE {USER} PASSWORD '{PASSWORD}'; ALTER ROLE {READER} PASSWORD '{PASSWORD}'"));
        // A database with a past: as text, the tenth epoch would come before it, and be doubted at each start.
        self.sql("INSERT INTO lockstep.epoch VALUES (9, 'another', '00000001', 'lockstep', 'first start')");
    }

    pub fn endpoints(&self) -> &Endpoints {
        self.stack.endpoints()
    }

    pub fn authority(&self) -> &Path {
        &self.endpoints().ca_file
    }

    /// An authority that has signed nothing of ours.
    pub fn strange_authority(&self) -> &Path {
        &self.stranger.endpoints().ca_file
    }

    pub fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// The database as ingest is to reach it, without a password.
    pub fn database_url(&self) -> String {
        self.database_url_of(USER)
    }

    fn database_url_of(&self, user: &str) -> String {
        let url = &self.endpoints().database_url;
        let (_, host) = url.rsplit_once('@').expect("a user");
        let host = host.replace("127.0.0.1", "localhost");
        format!("postgres://{user}@{host}?sslmode=verify-full&sslrootcert={}", self.authority().display())
    }

    fn admin_url(&self) -> String {
        let url = &self.endpoints().database_url;
        format!("{url}?sslmode=verify-full&sslrootcert={}", self.authority().display())
    }

    /// `lockstep` where nothing is configured but what all runs share.
    pub fn lockstep(&self) -> Lockstep {
        Lockstep::new(self.folder.path()).set("LOCKSTEP_PARTITIONS", "1")
    }

    /// The configuration's file: Kafka by `sasl`, and where the passwords are.
    pub fn file(&self, sasl: &str, authority: &Path, database: By, kafka: By) -> String {
        self.file_as("lockstep", USER, sasl, authority, database, kafka)
    }

    /// The same, for these users of Kafka and of the database.
    pub fn file_as(
        &self,
        user: &str,
        database_user: &str,
        sasl: &str,
        authority: &Path,
        database: By,
        kafka: By,
    ) -> String {
        let password = |by| match by {
            By::Environment => String::new(),
            By::File => format!("password_file = {:?}\n", self.password_file()),
        };
        format!(
            "[database]\nurl = \"{}\"\n{}\n[kafka]\nbrokers = \"{}\"\ntls = true\nca_file = {authority:?}\n\
             sasl = \"{sasl}\"\nuser = \"{user}\"\n{}",
            self.database_url_of(database_user),
            password(database),
            self.endpoints().kafka_secured,
            password(kafka)
        )
    }

    pub fn sql(&self, statements: &str) -> String {
        let mut psql = Command::new(PSQL);
        psql.args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", &self.admin_url(), "-c", statements]);
        let output = psql.output().expect("psql");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    /// Neither in what the program said, nor in what the servers wrote of it.
    pub fn nobody_has_said_a_password(&self, said: &[String]) {
        let logs = fs::read_dir(self.endpoints().dir.join("logs")).expect("the servers' logs");
        let logs = logs.map(|log| fs::read(log.expect("a log").path()).expect("a log that can be read"));
        let logs: Vec<_> = logs.map(|log| String::from_utf8_lossy(&log).into_owned()).collect();
        assert!(logs.len() >= 2 && said.iter().all(|text| !text.is_empty()), "there is nothing to look at");
        for text in said.iter().chain(&logs) {
            let shown = text.lines().find(|line| line.contains(SECRET));
            assert_eq!(shown, None, "a password is shown");
        }
    }
}

fn secured(services: Services, secured: Secured) -> Stack {
    let secured = Some(Secured { kafka_password: PASSWORD.to_owned(), ..secured });
    let postgres_password = Some(PASSWORD.to_owned());
    let options = StackOptions { services, postgres_password, secured, ..StackOptions::default() };
    let started = Stack::start(options, &mut |line| eprintln!("{line}"));
    started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)))
}
