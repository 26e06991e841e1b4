//! The database, and our objects in it.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Url, secret};
use crate::Failure;

const SLOT_DEFAULT: &str = "lockstep";
/// As PostgreSQL has it (NAMEDATALEN less its end).
const NAME_BYTES_MAX: usize = 63;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DatabaseSection {
    url: Option<String>,
    password_file: Option<PathBuf>,
    slot: Option<String>,
    publication: Option<String>,
    signal_table: Option<String>,
}

/// The database and our objects in it.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: Url,
    /// Our replication slot.
    pub slot: String,
    /// Our publication.
    pub publication: String,
    /// Debezium's signal table, `schema.table`, where snapshots are to be asked for by it.
    pub signal_table: Option<String>,
}

impl DatabaseConfig {
    /// What our publication is called where nothing else is configured.
    pub const PUBLICATION_DEFAULT: &str = "lockstep";

    /// The database's name.
    pub fn name(&self) -> String {
        let url = self.url.to_string();
        url.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

impl DatabaseSection {
    /// The database, where it is named: by an argument, which wins, or here.
    pub fn build(self, url: Option<String>) -> Result<Option<DatabaseConfig>, Failure> {
        let url = url.or(self.url).map(|text| Url::parse("the database URL", &text, &["postgres", "postgresql"]));
        let url = url.transpose()?;
        let password = secret::read("LOCKSTEP_DATABASE_PASSWORD", self.password_file.as_deref())?;
        let slot = self.slot.unwrap_or_else(|| SLOT_DEFAULT.to_owned());
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if slot.is_empty() || slot.len() > NAME_BYTES_MAX || !slot.bytes().all(fits) {
            return Err(Failure::configuration(format!("[database] slot = {slot:?} is no slot's name"))
                .remedy(format!("PostgreSQL takes up to {NAME_BYTES_MAX} of a-z, 0-9 and _")));
        }
        let publication = self.publication.unwrap_or_else(|| DatabaseConfig::PUBLICATION_DEFAULT.to_owned());
        if publication.is_empty() || publication.len() > NAME_BYTES_MAX || publication.contains('\0') {
            return Err(Failure::configuration(format!("[database] publication = {publication:?} is no name"))
                .remedy(format!("PostgreSQL takes up to {NAME_BYTES_MAX} bytes, and would cut off what is more")));
        }
        let signal_table = self.signal_table;
        Ok(url.map(|url| DatabaseConfig { url: url.with_password(password.as_ref()), slot, publication, signal_table }))
    }
}
