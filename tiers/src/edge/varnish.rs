//! Varnish with vmod xkey.

use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::EdgeConfig;
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Method, Response, StatusCode};

use super::WARMING_HEADER;
use super::vendor::{Answer, EdgeError, Limits, Seen, Vendor};

const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);
/// Varnish takes headers of 8 KB.
const HEADER_BYTES_MAX: usize = 4_000;
/// What an edge that wants fewer purges is given, where it does not say for how long; and the longest that it is given.
const THROTTLED_DEFAULT: Duration = Duration::from_secs(1);
const THROTTLED_MAX: Duration = Duration::from_secs(30);
/// The edge's own header that says whether it had a page.
const CACHE_HEADER: &str = "x-cache";
/// The gateway's header that says up to where an answer holds everything.
const POSITION_HEADER: &str = "lockstep-position";
/// The gateway's header that says who answered.
const TIER_HEADER: &str = "lockstep-tier";

pub(super) struct Varnish {
    client: Client,
    url: String,
    requests_per_second_max: u32,
}

impl Varnish {
    /// Prepares the way; nothing is sent yet.
    pub fn new(config: &EdgeConfig) -> Result<Self, Failure> {
        let client = Client::builder().connect_timeout(CONNECT_WAIT_MAX).timeout(ANSWER_WAIT_MAX).build();
        let client = client.map_err(|error| Failure::internal("the HTTP client").because(error))?;
        let url = config.url.expose().trim_end_matches('/').to_owned();
        Ok(Varnish { client, url, requests_per_second_max: config.purges_per_second_max })
    }
}

impl Vendor for Varnish {
    fn limits(&self) -> Limits {
        let requests_per_second_max = self.requests_per_second_max;
        Limits { tags_max: usize::MAX, bytes_max: HEADER_BYTES_MAX, requests_per_second_max }
    }

    fn purge<'a>(&'a self, tags: &'a [String]) -> Answer<'a, ()> {
        Box::pin(async {
            let purge = Method::from_bytes(b"PURGE").unwrap_or_default();
            let request = self.client.request(purge, format!("{}/", self.url)).header("xkey-purge", tags.join(" "));
            accepted(&request.send().await?)
        })
    }

    fn look<'a>(&'a self, path: &'a str) -> Answer<'a, Seen> {
        Box::pin(async move {
            let answer = self.client.get(format!("{}{path}", self.url)).header(WARMING_HEADER, "1").send().await?;
            let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
            Ok(Seen {
                status: answer.status().as_u16(),
                position: header(POSITION_HEADER).and_then(|text| text.parse().ok()),
                is_kept: header(CACHE_HEADER) == Some("HIT"),
                is_of_the_database: header(TIER_HEADER) == Some("database"),
            })
        })
    }
}

fn accepted(answer: &Response) -> Result<(), EdgeError> {
    match answer.status() {
        StatusCode::OK => Ok(()),
        status @ StatusCode::TOO_MANY_REQUESTS => {
            let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let wait = seconds.map_or(THROTTLED_DEFAULT, Duration::from_secs);
            Err(EdgeError::Throttled(status, wait.min(THROTTLED_MAX)))
        }
        status => Err(EdgeError::Refused(status)),
    }
}
