//! The CDN: purge by tag. Varnish with xkey; other vendors will stand beside it.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::EdgeConfig;
use lockstep_schemas::partition::murmur2;
use reqwest::{Client, Method, StatusCode};

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Whoever counts readers passes over a request that bears it.
pub const WARMING_HEADER: &str = "lockstep-warming";
/// A longer tag is cut, and told from others by a hash.
const TAG_BYTES_MAX: usize = 256;
/// Tags of one request fit into a header of so many bytes (Varnish takes 8 KB).
const HEADER_BYTES_MAX: usize = 4_000;

/// A purge that was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The edge, or the way to it.
    #[error("the edge: {0}")]
    Http(#[from] reqwest::Error),
    /// Another answer than 200.
    #[error("the edge refused a purge with {0}; does its VCL allow purges from this host?")]
    Refused(StatusCode),
}

/// The way to the edge. Clones share connections.
#[derive(Clone)]
pub struct Edge {
    client: Client,
    url: String,
}

impl Edge {
    /// Prepares the way; nothing is sent yet.
    pub fn new(config: &EdgeConfig) -> Result<Self, Failure> {
        let client = Client::builder().connect_timeout(CONNECT_WAIT_MAX).timeout(ANSWER_WAIT_MAX).build();
        let client = client.map_err(|error| Failure::internal("the HTTP client").because(error))?;
        Ok(Edge { client, url: config.url.expose().trim_end_matches('/').to_owned() })
    }

    /// Asks for a page as a reader would, so that the edge has it; whether it answered with one.
    pub async fn warm(&self, path: &str) -> Result<bool, EdgeError> {
        let request = self.client.get(format!("{}{path}", self.url)).header(WARMING_HEADER, "1");
        Ok(request.send().await?.status().is_success())
    }

    /// Hard purge of everything that bears one of the tags. Never soft: a stale body must not be served once more.
    pub async fn purge(&self, tags: &[String]) -> Result<(), EdgeError> {
        for header in headers(tags) {
            let purge = Method::from_bytes(b"PURGE").unwrap_or_default();
            let request = self.client.request(purge, format!("{}/", self.url)).header("xkey-purge", header);
            let status = request.send().await?.status();
            if status != StatusCode::OK {
                return Err(EdgeError::Refused(status));
            }
        }
        Ok(())
    }
}

/// Tags, joined into as few headers as their length allows.
fn headers(tags: &[String]) -> Vec<String> {
    let mut headers: Vec<String> = Vec::new();
    for tag in tags {
        match headers.last_mut() {
            Some(header) if header.len() + 1 + tag.len() <= HEADER_BYTES_MAX => {
                header.push(' ');
                header.push_str(tag);
            }
            _ => headers.push(tag.clone()),
        }
    }
    headers
}

/// A tag as it stands in a header: what separates tags, or is no header text, is escaped.
pub fn tag(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let escaped: String = text.bytes().map(escape).collect();
    if escaped.len() <= TAG_BYTES_MAX {
        return escaped;
    }
    // Two long texts may share a tag: then one purge takes both.
    format!("{}~{:08x}", &escaped[..TAG_BYTES_MAX / 2], murmur2(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_share_headers() {
        let tags: Vec<String> = (0..1_000).map(|n| format!("product:{n:05}")).collect();
        let headers = headers(&tags);
        assert!(headers.len() < 5 && headers.iter().all(|header| header.len() <= HEADER_BYTES_MAX));
        assert_eq!(headers.iter().flat_map(|header| header.split(' ')).count(), 1_000);
        assert_eq!(tag("product:a b,c"), "product:a%20b%2Cc");
        let long = |last: char| tag(&format!("{}{last}", "x".repeat(9_000)));
        assert!(long('a').len() < TAG_BYTES_MAX && long('a') != long('b'));
    }
}
