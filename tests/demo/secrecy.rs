//! A customer's e-mail address is in the database, in the log and in a cache, and in nothing that anybody reads.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::harness::kafka::holding;
use crate::harness::{Lockstep, until};

const PSQL: &str = "/usr/lib/postgresql/15/bin/psql";
/// The first customer is the first to change the name, which brings it into the log.
const RENAME_LIMIT: Duration = Duration::from_secs(10);
/// As the demo's shop has it, in a name too.
pub const ADDRESS: &str = "planted.address@shop.example";

/// What `explain` tries: the address under another name.
const RENAME: &str = "UPDATE users SET name = email WHERE user_id = 1";

/// A demo's servers, known by the environment of one of its roles; and the roles' logs, open, so that they can be read
/// when the demo has taken them away.
pub struct Backstage {
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    logs: Vec<(String, File)>,
}

impl Backstage {
    pub fn of(role: u32) -> Self {
        let environment = fs::read(format!("/proc/{role}/environ")).expect("the role's environment");
        let variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let pairs =
            variables.filter_map(|variable| variable.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())));
        let folder = fs::read_link(format!("/proc/{role}/cwd")).expect("the role's folder");
        let logs = fs::read_dir(folder.join("logs")).expect("the roles' logs").map(|log| {
            let path = log.expect("a log").path();
            (path.display().to_string(), File::open(&path).expect("a log that can be read"))
        });
        let logs: Vec<_> = logs.collect();
        Backstage { environment: pairs.filter(|(name, _)| name.starts_with("LOCKSTEP_")).collect(), folder, logs }
    }

    fn value(&self, name: &str) -> &str {
        self.environment.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.environment))
    }

    /// Where the address is: so that its absence elsewhere says something.
    pub fn check_that_it_is_there(&self) {
        let count = format!("SELECT count(*) FROM users WHERE email = '{ADDRESS}' AND starts_with(name, '{ADDRESS}')");
        let asked = Command::new(PSQL).args(["-XAtqd", self.value("LOCKSTEP_DATABASE_URL"), "-c", &count]).output();
        assert_eq!(String::from_utf8_lossy(&asked.expect("psql").stdout).trim(), "1", "in the database");
        let brokers = self.value("LOCKSTEP_KAFKA_BROKERS");
        let found = || (holding(brokers, "lockstep.customers", ADDRESS).0 > 0).then_some(());
        until("the address to be in Kafka", RENAME_LIMIT, found);
        assert!(self.value("LOCKSTEP_L1_URLS").split(',').any(is_in_redis), "in Redis");
    }

    /// What the commands say that an operator uses every day.
    pub fn said_by_commands(&self) -> String {
        let exports: String = self.environment.iter().map(|(name, value)| format!("export {name}={value}\n")).collect();
        let lockstep = Lockstep::new(&self.folder).exports(&exports);
        self.park_the_address(&lockstep);
        let commands: [&[&str]; 15] = [
            &["status"],
            &["status", "-o", "json"],
            &["check"],
            &["warm", "profile"],
            &["why", "user:1"],
            &["why", "user:1", "-o", "json"],
            &["explain", "--table", "public.users", "--key", "1"],
            &["explain", "--sql", RENAME],
            &["parked", "show", "0"],
            &["parked", "show", "0", "-o", "json"],
            &["replay", "--dry-run", "--group", "customers"],
            &["snapshot", "public.users"],
            &["audit", "--full", "--once"],
            &["audit", "--noted", "-o", "json"],
            &["purge", "--key", "user:1"],
        ];
        let said = commands.map(|arguments| lockstep.run(arguments).to_string()).concat();
        assert!(said.contains("  name: private:"), "the entry is told, its name is not: {said}");
        assert!(said.contains("update public.users 1"), "the change is explained: {said}");
        said
    }

    /// A row too large for the log, which is parked: with what identifies it, and nothing else of it.
    fn park_the_address(&self, lockstep: &Lockstep) {
        let insert = format!(
            "INSERT INTO users (email, name) VALUES ('2{ADDRESS}', '{ADDRESS}' || repeat(md5(random()::text), 40000))"
        );
        let done = Command::new(PSQL).args(["-XAtqd", self.value("LOCKSTEP_DATABASE_URL"), "-c", &insert]).output();
        assert!(done.expect("psql").status.success());
        let parked = || lockstep.run(&["parked", "ls"]).stdout.contains("row-too-large").then_some(());
        until("the row to be parked", RENAME_LIMIT, parked);
    }

    /// All that the roles have logged.
    pub fn logs(self) -> String {
        let mut said = String::new();
        for (name, mut log) in self.logs {
            log.read_to_string(&mut said).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        said
    }
}

fn is_in_redis(url: &str) -> bool {
    let mut node = redis::Client::open(url).and_then(|client| client.get_connection()).expect("a node of L1");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*:user:1").query(&mut node).expect("its keys");
    // A replica, or the primary of other slots, says where to ask.
    let name = |key: &String| redis::cmd("HGET").arg(key).arg("name").query::<String>(&mut node);
    keys.iter().map(name).any(|name| name.is_ok_and(|name| name.starts_with(ADDRESS)))
}
