//! PostgreSQL 18 with a standby, Kafka, and `lockstep` pointed at whichever is primary.

use std::process::Command;

use lockstep_process::config::{Config, ConfigArgs};
use lockstep_stack::{PostgresVersion, Service, Services, Stack, StackOptions};

use crate::WAIT_MAX;
use crate::harness::Lockstep;
pub use crate::harness::Program;
use crate::log::Log;

const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";

pub struct Shop {
    stack: Stack,
    failed_over: bool,
    folder: tempfile::TempDir,
}

impl Shop {
    pub fn start() -> Self {
        let services = Services { postgres: true, kafka: true, ..Services::NONE };
        let postgres_version = PostgresVersion::V18;
        let options = StackOptions { services, postgres_version, postgres_standby: true, ..StackOptions::default() };
        let started = Stack::start(options, &mut |line| eprintln!("{line}"));
        let stack = started.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let shop = Shop { stack, failed_over: false, folder: tempfile::tempdir().expect("a folder") };
        assert_eq!(shop.lockstep().ask(&["migrate"]), "the database is up to date\n");
        shop
    }

    fn url(&self) -> &str {
        let endpoints = self.stack.endpoints();
        if self.failed_over { &endpoints.standby_url } else { &endpoints.database_url }
    }

    pub fn lockstep(&self) -> Lockstep {
        Lockstep::new(self.folder.path())
            .set("LOCKSTEP_DATABASE_URL", self.url())
            .set("LOCKSTEP_KAFKA_BROKERS", &self.stack.endpoints().kafka)
            .set("LOCKSTEP_PARTITIONS", "1")
    }

    /// The primary is gone in an instant; the standby takes over.
    pub fn fail_over(&mut self) {
        self.stack.kill(Service::Postgres).expect("a killed primary");
        self.stack.promote_standby().expect("a promoted standby");
        self.failed_over = true;
    }

    pub fn sql(&self, statement: &str) -> String {
        psql(self.url(), statement)
    }

    pub fn standby_sql(&self, statement: &str) -> String {
        psql(&self.stack.endpoints().standby_url, statement)
    }

    /// The catalogue's log, up to the record that brings this product.
    pub fn log_until(&self, product: &str) -> Log {
        let brokers = Some(self.stack.endpoints().kafka.clone());
        let config = Config::load(&ConfigArgs { kafka_brokers: brokers, ..ConfigArgs::default() });
        Log::until(config.expect("a configuration").kafka().expect("Kafka"), product, WAIT_MAX)
    }
}

fn psql(url: &str, statement: &str) -> String {
    let mut psql = Command::new(PSQL);
    let output = psql.args(["-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]).output().expect("psql");
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}
