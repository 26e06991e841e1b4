//! A standby: a copy of its primary, which it follows through a slot of its own until it is promoted.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use crate::error::StackError;
use crate::folder::hand_over;
use crate::options::PostgresVersion;
use crate::postgres::{DATABASE, PREPARE_LIMIT, Postgres, USER, copy};
use crate::process::Process;
use crate::spawn::Spawner;
use crate::sys;

/// The standby's slot on the primary.
const SLOT: &str = "standby";
const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Postgres {
    /// Becomes the standby of a primary that has just been made. Both run afterwards.
    ///
    /// Debian's `pg_basebackup` refuses newer servers; nobody needs the primary yet, so it is stopped for the copy.
    pub(super) fn follow(
        &self,
        primary: &Postgres,
        mut process: Process,
        spawner: &Spawner,
    ) -> Result<(Process, Process), StackError> {
        // The fast shutdown, with its checkpoint.
        sys::send_signal(process.pid(), libc::SIGINT);
        process.wait(STOP_LIMIT);
        drop(process);
        copy::tree(&primary.data(), &self.data())?;
        self.set_apart(primary).map_err(StackError::io("set up a standby"))?;
        hand_over(&self.data().join("standby.signal"), self.account)?;
        let process = primary.start(spawner)?;
        let create = format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)");
        let client = primary.client("psql").arguments(["-XAtqw", "-d", DATABASE, "-c", create.as_str()]);
        spawner.run(&client, PREPARE_LIMIT)?;
        Ok((process, self.start(spawner)?))
    }

    fn set_apart(&self, primary: &Postgres) -> std::io::Result<()> {
        File::create(self.data().join("standby.signal"))?;
        let mut file = File::options().append(true).open(self.data().join("postgresql.conf"))?;
        file.write_all(self.configuration().as_bytes())?;
        let password = primary.password.iter().map(|text| format!(" password={}", quoted(text)));
        let password: String = password.collect();
        let primary = format!("host=127.0.0.1 port={} user={USER} dbname={DATABASE}{password}", primary.port);
        writeln!(file, "primary_conninfo = {}", quoted(&primary))?;
        writeln!(file, "primary_slot_name = '{SLOT}'\nhot_standby_feedback = on")?;
        // Of the primary's slots, those that may fail over are kept here too.
        if self.version == PostgresVersion::V18 {
            writeln!(file, "sync_replication_slots = on\nsynchronized_standby_slots = ''")?;
        }
        Ok(())
    }

    /// Ends recovery and waits until it has ended.
    pub(crate) fn promote(&self, spawner: &Spawner) -> Result<(), StackError> {
        let promote = self.launch("pg_ctl").arguments(["promote", "-w", "-D"]).arguments([self.data()]);
        spawner.run(&promote, PREPARE_LIMIT)
    }
}

/// A value of a connection string, or of a setting: both take backslashes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
