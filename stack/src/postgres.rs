//! PostgreSQL, as the source wants it: logical decoding, commit times, nothing relaxed.

mod copy;
mod standby;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::certificates::Certificates;
use crate::error::StackError;
use crate::folder::hand_over;
use crate::options::{PostgresVersion, Service, StackOptions};
use crate::process::Process;
use crate::programs::Programs;
use crate::site::Site;
use crate::spawn::{Launch, Spawner};
use crate::sys::Account;

const DATABASE: &str = "shop";
const USER: &str = "postgres";
const PREPARE_LIMIT: Duration = Duration::from_secs(60);
/// A start after a crash replays the log first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The kernel's limit on the path of a socket is 107 bytes; the file's name takes up to 17.
const SOCKET_FOLDER_BYTES_MAX: usize = 90;

/// One PostgreSQL server and its folder.
pub(crate) struct Postgres {
    service: Service,
    version: PostgresVersion,
    programs: PathBuf,
    clients: PathBuf,
    account: Option<Account>,
    /// Ours to hand over; holds `data/` and the socket.
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    password: Option<String>,
    settings: Vec<(String, String)>,
    /// With them, nobody is let in without TLS.
    certificates: Option<Certificates>,
    standby: Option<Box<Postgres>>,
}

impl Postgres {
    pub(crate) fn build(site: &mut Site<'_>, programs: &Programs, options: &StackOptions) -> Result<Self, StackError> {
        let programs_folder = copy::reachable(site, programs)?;
        let mut server = |service: Service, standby| {
            let name = service.to_string();
            Ok::<_, StackError>(Self {
                service,
                version: options.postgres_version,
                programs: programs_folder.clone(),
                clients: programs.postgres_clients.clone(),
                account: programs.postgres_account,
                folder: site.folder.part(&name, programs.postgres_account)?,
                log: site.log(&name),
                port: site.ports.take()?,
                password: options.postgres_password.clone(),
                settings: options.postgres_settings.clone(),
                certificates: site.certificates.clone(),
                standby,
            })
        };
        let standby = options.postgres_standby.then(|| server(Service::Standby, None)).transpose()?;
        server(Service::Postgres, standby.map(Box::new))
    }

    pub(crate) fn label(&self) -> &'static str {
        match (self.version, &self.standby) {
            (PostgresVersion::V15, None) => "postgresql 15",
            (PostgresVersion::V18, None) => "postgresql 18",
            (PostgresVersion::V15, Some(_)) => "postgresql 15 with a standby",
            (PostgresVersion::V18, Some(_)) => "postgresql 18 with a standby",
        }
    }

    pub(crate) fn standby(&self) -> Option<&Self> {
        self.standby.as_deref()
    }

    pub(crate) fn url(&self) -> String {
        let password = self.password.as_deref().map(percent_encode);
        let password = password.map(|text| format!(":{text}")).unwrap_or_default();
        format!("postgres://{USER}{password}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// A new server with its database in it, and its standby.
    pub(crate) fn create(&self, spawner: &Spawner) -> Result<Vec<(Service, Process)>, StackError> {
        self.init(spawner)?;
        let process = self.start(spawner)?;
        spawner.run(&self.client("createdb").arguments([DATABASE]), PREPARE_LIMIT)?;
        let Some(standby) = &self.standby else { return Ok(vec![(self.service, process)]) };
        let (process, following) = standby.follow(self, process, spawner)?;
        Ok(vec![(self.service, process), (standby.service, following)])
    }

    /// The server on its folder as it is.
    pub(crate) fn start(&self, spawner: &Spawner) -> Result<Process, StackError> {
        let mut launch = self.launch("postgres").arguments(["-D"]).arguments([self.data()]);
        launch.name = self.service.to_string();
        // The immediate shutdown: the postmaster ends its children and itself, without a checkpoint.
        launch.stop_signal = libc::SIGQUIT;
        let mut process = spawner.spawn(&launch)?;
        let pid = process.pid();
        process.wait_until(START_LIMIT, || self.serves(pid))?;
        Ok(process)
    }

    /// The postmaster writes its id in the first line of this file, and in the eighth whether it serves.
    pub(crate) fn serves(&self, pid: u32) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines();
        lines.next() == Some(pid.to_string().as_str()) && lines.nth(6).is_some_and(|line| line.trim() == "ready")
    }

    fn init(&self, spawner: &Spawner) -> Result<(), StackError> {
        let method = if self.password.is_some() { "scram-sha-256" } else { "trust" };
        let mut init = self.launch("initdb").arguments(["-U", USER, "-A", method]);
        init = init.arguments(["--no-locale", "-E", "UTF8", "--no-sync", "-D"]).arguments([self.data()]);
        let secret = self.folder.join("password");
        if let Some(password) = &self.password {
            write_secret(&secret, password).map_err(StackError::io("write a password file"))?;
            hand_over(&secret, self.account)?;
            init = init.arguments(["--pwfile"]).arguments([&secret]);
        }
        spawner.run(&init, PREPARE_LIMIT)?;
        if self.password.is_some() {
            fs::remove_file(&secret).map_err(StackError::io("remove a password file"))?;
        }
        if let Some(certificates) = &self.certificates {
            self.secure(certificates, method)?;
        }
        let file = File::options().append(true).open(self.data().join("postgresql.conf"));
        let written = file.and_then(|mut file| file.write_all(self.configuration().as_bytes()));
        written.map_err(StackError::io("write postgresql.conf"))
    }

    /// The server takes its key only from a file of its own that nobody else can read.
    fn secure(&self, certificates: &Certificates, method: &str) -> Result<(), StackError> {
        let own = |name: &str| self.data().join(name);
        fs::copy(&certificates.certificate, own("server.crt")).map_err(StackError::io("copy a certificate"))?;
        let key = fs::read_to_string(&certificates.key).map_err(StackError::io("read a key"))?;
        write_secret(&own("server.key"), &key).map_err(StackError::io("write a key"))?;
        hand_over(&own("server.crt"), self.account)?;
        hand_over(&own("server.key"), self.account)?;
        let admitted = ["all", "replication"].map(|what| format!("hostssl {what} all 127.0.0.1/32 {method}\n"));
        fs::write(own("pg_hba.conf"), admitted.concat()).map_err(StackError::io("write pg_hba.conf"))
    }

    /// In the file rather than on the command line, so that ALTER SYSTEM can still change it.
    fn configuration(&self) -> String {
        let socket_folder = self.folder.to_string_lossy();
        let has_room = socket_folder.len() <= SOCKET_FOLDER_BYTES_MAX;
        let port = self.port.to_string();
        let ours = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", if has_room { &socket_folder } else { "" }),
            ("wal_level", "logical"),
            ("max_wal_senders", "10"),
            ("max_replication_slots", "10"),
            ("max_slot_wal_keep_size", "4GB"),
            ("track_commit_timestamp", "on"),
            ("synchronous_commit", "on"),
            ("fsync", "on"),
            ("shared_buffers", "128MB"),
        ];
        let tls = self.certificates.iter().map(|_| ("ssl", "on"));
        let theirs = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // Where a name comes twice, the last one holds.
        let lines = ours.into_iter().chain(tls).chain(theirs).map(|(name, value)| {
            let quoted = value.replace('\'', "''");
            format!("{name} = '{quoted}'\n")
        });
        lines.collect()
    }

    /// A client of Debian's, pointed at this server.
    fn client(&self, program: &str) -> Launch {
        let mut launch = self.launch(program);
        launch.program = self.clients.join(program);
        launch.environment.extend(self.password.iter().map(|text| ("PGPASSWORD", text.clone())));
        launch.arguments(["-h", "127.0.0.1", "-U", USER, "-p"]).arguments([self.port.to_string()])
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn launch(&self, program: &str) -> Launch {
        let path = self.programs.join(program);
        let mut launch = Launch::new(program, path, &self.folder, &self.log);
        launch.account = self.account;
        // Who encrypts as a client, as a standby too, looks for a certificate at home, and gives up where it may not
        // enter that.
        launch.environment.push(("HOME", self.folder.display().to_string()));
        launch
    }
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())
}

fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_password_is_encoded_for_a_url() {
        assert_eq!(super::percent_encode("a-Z_0/@ü"), "a-Z_0%2F%40%C3%BC");
    }
}
