//! Addresses that may hold a password.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::Failure;

/// An address that may hold a password: it is never printed whole.
#[derive(Clone)]
pub struct Url(SecretString);

impl Url {
    /// Takes a URL of the given scheme.
    pub fn parse(what: &str, text: &str, schemes: &[&str]) -> Result<Self, Failure> {
        let known =
            schemes.iter().any(|scheme| text.starts_with(&format!("{scheme}://")) && text.len() > scheme.len() + 3);
        if !known {
            return Err(Failure::configuration(format!("{what} is not a URL of the form {}://host:port", schemes[0])));
        }
        Ok(Url(SecretString::from(text.to_owned())))
    }

    /// The same with a password, unless it names one already.
    pub(super) fn with_password(self, password: Option<&SecretString>) -> Self {
        let (Some(password), Some((scheme, rest))) = (password, self.expose().split_once("://")) else { return self };
        let Some((user, host)) = rest.split_once('@').filter(|(user, _)| !user.contains(':')) else { return self };
        let plain = |byte: u8| byte.is_ascii_alphanumeric();
        let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let password: String = password.expose_secret().bytes().map(escape).collect();
        Url(SecretString::from(format!("{scheme}://{user}:{password}@{host}")))
    }

    /// The whole text, password included, for the client that connects.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.expose();
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        write!(f, "{scheme}://{}", host.split('?').next().unwrap_or(host))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_from_elsewhere() {
        let url = |text| Url::parse("x", text, &["postgres"]).expect("a URL");
        let password = SecretString::from("p@ss/word".to_owned());
        assert_eq!(url("postgres://u@h/db").with_password(Some(&password)).expose(), "postgres://u:p%40ss%2Fword@h/db");
        assert_eq!(url("postgres://u:own@h/db").with_password(Some(&password)).expose(), "postgres://u:own@h/db");
    }
}
