//! A certificate authority of the stack's own, and the one certificate that all its secured servers show.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::StackError;
use crate::site::Site;
use crate::spawn::{Launch, Spawner};

const LIMIT: Duration = Duration::from_secs(30);
/// Longer than any stack of a test lives, and too short to be of use to anybody who finds the key.
const DAYS: &str = "7";

/// Files in the stack's folder, all PEM.
#[derive(Clone)]
pub(crate) struct Certificates {
    /// The authority's own certificate: what clients are told to trust.
    pub(crate) authority: PathBuf,
    /// The servers' certificate.
    pub(crate) certificate: PathBuf,
    /// Its key (PKCS #8).
    pub(crate) key: PathBuf,
}

impl Certificates {
    /// Makes both with the `openssl` command; `names` are the host names and addresses that the servers answer to.
    pub(crate) fn make(
        site: &Site<'_>,
        openssl: &Path,
        names: &[String],
        spawner: &Spawner,
    ) -> Result<Self, StackError> {
        let folder = site.folder.part("tls", None)?;
        let configuration = folder.join("openssl.cnf");
        fs::write(&configuration, extensions(names)).map_err(StackError::io("write openssl's configuration"))?;
        let made = Self {
            authority: folder.join("ca.crt"),
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
        };
        let request = |section: &str, subject: &str, key: &Path, certificate: &Path| {
            let launch = Launch::new("openssl", openssl, &folder, &site.log("openssl"));
            let launch = launch.arguments(["req", "-x509", "-nodes", "-newkey", "ec"]);
            let launch = launch.arguments(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", DAYS]);
            let launch = launch.arguments(["-subj", subject, "-extensions", section, "-config"]);
            launch
                .arguments([&configuration])
                .arguments(["-keyout"])
                .arguments([key])
                .arguments(["-out"])
                .arguments([certificate])
        };
        let authority_key = folder.join("ca.key");
        let authority = request("authority", "/CN=the authority of a private stack", &authority_key, &made.authority);
        spawner.run(&authority, LIMIT)?;
        let server = request("server", "/CN=a server of a private stack", &made.key, &made.certificate);
        let server = server.arguments(["-CA"]).arguments([&made.authority]);
        spawner.run(&server.arguments(["-CAkey"]).arguments([&authority_key]), LIMIT)?;
        Ok(made)
    }
}

fn extensions(names: &[String]) -> String {
    let kind = |name: &String| if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" };
    let names: Vec<_> = names.iter().map(|name| format!("{}:{name}", kind(name))).collect();
    format!(
        "[req]\ndistinguished_name = subject\n[subject]\n\
         [authority]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
         subjectKeyIdentifier = hash\n\
         [server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
         extendedKeyUsage = serverAuth\nsubjectAltName = {}\n",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_addresses_are_told_apart() {
        let text = super::extensions(&["localhost".into(), "127.0.0.1".into(), "::1".into()]);
        assert!(text.ends_with("subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1\n"), "{text}");
    }
}
