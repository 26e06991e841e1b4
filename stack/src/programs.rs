//! Where the servers' programs are, found before anything is started.

use std::env;
use std::path::{Path, PathBuf};

use crate::error::StackError;
use crate::options::{PostgresVersion, RedisVersion, StackOptions};
use crate::sys::{self, Account};

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
/// Where daemons are on Debian; not on every user's PATH.
const DAEMONS: &str = "/usr/sbin";

/// The programs of the services that were asked for; those of the others are empty paths.
#[derive(Default)]
pub(crate) struct Programs {
    /// The folder of PostgreSQL's server programs.
    pub(crate) postgres: PathBuf,
    /// The folder of its clients: Debian's, which any version serves.
    pub(crate) postgres_clients: PathBuf,
    /// PostgreSQL refuses root; where we are root it runs as this user.
    pub(crate) postgres_account: Option<Account>,
    pub(crate) java: PathBuf,
    pub(crate) redis_server: PathBuf,
    pub(crate) redis_cli: PathBuf,
    pub(crate) varnishd: PathBuf,
    /// Likewise for Varnish, which would run compiled code as root.
    pub(crate) varnish_account: Option<Account>,
    /// Makes the certificates of a secured stack.
    pub(crate) openssl: PathBuf,
}

impl Programs {
    pub(crate) fn find(options: &StackOptions) -> Result<Self, StackError> {
        let mut found = Self::default();
        let services = options.services;
        if services.postgres {
            let postgres = Path::new(POSTGRES);
            if !postgres.join("postgres").exists() {
                let program = postgres.join("postgres").display().to_string();
                return Err(StackError::MissingProgram { program });
            }
            found.postgres_clients = postgres.to_owned();
            found.postgres = match options.postgres_version {
                PostgresVersion::V15 => postgres.to_owned(),
                PostgresVersion::V18 => options.postgres_18.join("bin"),
            };
            if !found.postgres.join("postgres").exists() {
                return Err(StackError::MissingPostgres { folder: options.postgres_18.clone() });
            }
            found.postgres_account = stand_in("postgres")?;
        }
        if services.kafka {
            found.java = find("java")?;
        }
        if services.l2 || services.l1 {
            found.redis_server = match options.redis_version {
                RedisVersion::V7 => find("redis-server")?,
                RedisVersion::Valkey9 => options.valkey_9.clone(),
            };
            if !found.redis_server.is_file() {
                return Err(StackError::MissingValkey { program: options.valkey_9.clone() });
            }
        }
        if services.l1 {
            found.redis_cli = find("redis-cli")?;
        }
        if services.varnish {
            found.varnishd = find("varnishd")?;
            // Varnish compiles its configuration.
            find("cc")?;
            found.varnish_account = stand_in("nobody")?;
        }
        if options.secured.is_some() {
            found.openssl = find("openssl")?;
        }
        Ok(found)
    }

    /// Whether a server runs as another user than this process.
    pub(crate) fn has_account(&self) -> bool {
        self.postgres_account.is_some() || self.varnish_account.is_some()
    }
}

/// The user to run a server as where this process is root.
fn stand_in(name: &'static str) -> Result<Option<Account>, StackError> {
    if sys::effective_uid() != 0 {
        return Ok(None);
    }
    let account = sys::account(name).ok_or(StackError::MissingAccount { account: name })?;
    Ok(Some(account))
}

fn find(program: &str) -> Result<PathBuf, StackError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from(DAEMONS)]);
    let mut candidates = folders.map(|folder| folder.join(program));
    let found = candidates.find(|candidate| candidate.is_file());
    found.ok_or(StackError::MissingProgram { program: program.to_owned() })
}
