//! What every CDN is asked: to purge by tag, and to show a page.

use std::pin::Pin;
use std::time::Duration;

use lockstep_schemas::position::Position;
use reqwest::StatusCode;

/// A purge that was not accepted, or a page that could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// The edge, or the way to it.
    #[error("the edge: {0}")]
    Http(#[from] reqwest::Error),
    /// Another answer than that a purge was accepted.
    #[error("the edge refused a purge with {0}; does its VCL allow purges from this host?")]
    Refused(StatusCode),
    /// Too many at once: not again before so long.
    #[error("the edge wants fewer purges: it says {0}, and to wait {1:?}")]
    Throttled(StatusCode, Duration),
    /// A page was there that the purge should have taken.
    #[error("it accepts purges, and still has {path} from before {purged}; does the page bear its tag?")]
    WithoutEffect {
        /// The page.
        path: String,
        /// Up to where everything had been purged.
        purged: Position,
    },
    /// The edge is not there.
    #[error("the edge does not answer")]
    Away,
}

/// What a reader gets from the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The HTTP status.
    pub status: u16,
    /// The answer holds everything up to here; `None` where the origin does not say.
    pub position: Option<Position>,
    /// The edge had it, and did not ask its origin.
    pub is_kept: bool,
    /// The database was asked for it, past every tier.
    pub is_of_the_database: bool,
}

/// What a vendor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tags of one request.
    pub tags_max: usize,
    /// Bytes of one request's tags, with what separates them.
    pub bytes_max: usize,
    /// Requests a second.
    pub requests_per_second_max: u32,
}

/// An answer to come.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, EdgeError>> + Send + 'a>>;

/// A CDN.
pub trait Vendor: Send + Sync {
    /// What it takes.
    fn limits(&self) -> Limits;

    /// Hard purge of everything that bears one of these tags, which are within the limits. Never soft: a stale body must not
    /// be served once more.
    fn purge<'a>(&'a self, tags: &'a [String]) -> Answer<'a, ()>;

    /// Asks for a page as a reader does, but marked as none, so that nobody counts it as demand.
    fn look<'a>(&'a self, path: &'a str) -> Answer<'a, Seen>;
}
