//! Where to connect, out of the database's URL.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::TransportError;

/// A server, and how to log in.
#[derive(Debug)]
pub(crate) struct Target {
    pub address: Address,
    pub user: String,
    pub password: String,
    pub database: String,
    pub tls: TlsWish,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16 },
    Socket(PathBuf),
}

/// `sslmode` and the files that go with it, as libpq has them.
#[derive(Debug, Default)]
pub(crate) struct TlsWish {
    pub mode: TlsMode,
    pub roots: Option<PathBuf>,
    /// Our own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    /// Where the server has it.
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl Target {
    pub fn parse(url: &str) -> Result<Self, TransportError> {
        let url = Url::parse(url).map_err(|_| TransportError::Url)?;
        let text = |encoded: &str| percent_decode_str(encoded).decode_utf8_lossy().into_owned();
        let parameter =
            |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let port = url.port().or_else(|| parameter("port")?.parse().ok()).unwrap_or(5432);
        let named = url.host_str().filter(|host| !host.is_empty()).map(text).or_else(|| parameter("host"));
        let host = named.unwrap_or_else(|| "127.0.0.1".to_owned());
        let address = if host.starts_with('/') {
            Address::Socket(PathBuf::from(host).join(format!(".s.PGSQL.{port}")))
        } else {
            Address::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port }
        };
        let mode = match parameter("sslmode").as_deref() {
            Some("disable") => TlsMode::Disable,
            None | Some("allow" | "prefer") => TlsMode::Prefer,
            Some("require") => TlsMode::Require,
            Some("verify-ca") => TlsMode::VerifyCa,
            Some("verify-full") => TlsMode::VerifyFull,
            Some(_) => return Err(TransportError::Url),
        };
        let identity = parameter("sslcert").zip(parameter("sslkey")).map(|(cert, key)| (cert.into(), key.into()));
        Ok(Target {
            address,
            user: text(url.username()),
            password: text(url.password().unwrap_or("")),
            database: text(url.path().trim_start_matches('/')),
            tls: TlsWish { mode, roots: parameter("sslrootcert").map(Into::into), identity },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |url: &str, address: Address, mode: TlsMode| {
            let target = Target::parse(url).expect("a URL");
            assert_eq!((target.address, target.tls.mode), (address, mode), "{url}");
        };
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        check("postgres://u@db/shop", tcp("db", 5432), TlsMode::Prefer);
        check("postgres://u:p%40@[::1]:7/shop?sslmode=verify-full", tcp("::1", 7), TlsMode::VerifyFull);
        check("postgres:///shop?host=/run/pg&port=7", Address::Socket("/run/pg/.s.PGSQL.7".into()), TlsMode::Prefer);
        let target = Target::parse("postgres://a%20b:p%40@db/sh%20op?sslrootcert=/r.pem").expect("a URL");
        assert_eq!((&*target.user, &*target.password, &*target.database), ("a b", "p@", "sh op"));
        assert_eq!(target.tls.roots, Some("/r.pem".into()));
        assert!(Target::parse("postgres://db/shop?sslmode=perhaps").is_err());
    }
}
