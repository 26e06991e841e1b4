//! The CDN: purge by tag. Requests are deduped, cut to what the vendor takes, and paced for all lanes of a process together.

mod pace;
mod shelf;
mod varnish;
mod vendor;

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_process::Failure;
use lockstep_process::config::EdgeConfig;
use lockstep_schemas::partition::murmur2;
use lockstep_schemas::policy::View;
use tokio::time::Instant;

use pace::Pace;
pub use shelf::{Fault, Shelf};
use varnish::Varnish;
pub use vendor::{Answer, EdgeError, Limits, Seen, Vendor};

/// Whoever counts readers passes over a request that bears it.
pub const WARMING_HEADER: &str = "lockstep-warming";
/// A look costs the origin an answer that no reader asked for.
const LOOKS_PER_SECOND: u32 = 1;
/// A longer tag is cut, and told from others by a hash.
const TAG_BYTES_MAX: usize = 256;

/// The way to the edge. Clones share connections and pace.
#[derive(Clone)]
pub struct Edge {
    vendor: Arc<dyn Vendor>,
    pace: Arc<Pace>,
    looks: Arc<Pace>,
}

impl Edge {
    /// Prepares the way to Varnish; nothing is sent yet.
    pub fn new(config: &EdgeConfig) -> Result<Self, Failure> {
        Ok(Edge::of(Arc::new(Varnish::new(config)?)))
    }

    /// The way to any vendor.
    pub fn of(vendor: Arc<dyn Vendor>) -> Self {
        let pace = Arc::new(Pace::new(vendor.limits().requests_per_second_max));
        Edge { vendor, pace, looks: Arc::new(Pace::new(LOOKS_PER_SECOND)) }
    }

    /// Asks for a page as a reader would, so that the edge has it; whether it answered with one.
    pub async fn warm(&self, path: &str) -> Result<bool, EdgeError> {
        let seen = self.look(path).await?;
        Ok((200..300).contains(&seen.status))
    }

    /// Hard purge of everything that bears one of the tags. Who fails tries again with all of them: twice is as good as once.
    ///
    /// Takes as many seconds as there are requests, by the requests that the vendor takes a second.
    pub async fn purge(&self, tags: &[String]) -> Result<(), EdgeError> {
        for batch in batches(tags, self.vendor.limits()) {
            self.pace.turn().await;
            if let Err(error) = self.vendor.purge(&batch).await {
                if let EdgeError::Throttled(_, wait) = error {
                    self.pace.hold(Instant::now() + wait);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether it is time for one of the looks by which purges are proven, of all lanes together; it is taken.
    pub fn may_look(&self) -> bool {
        self.looks.try_turn()
    }

    /// Asks for a page as a reader does: an accepted purge is a promise, and this is the proof.
    pub async fn look(&self, path: &str) -> Result<Seen, EdgeError> {
        self.vendor.look(path).await
    }
}

/// Each tag once, in as few requests as the limits allow. A tag that is too long by itself has a request of its own.
fn batches(tags: &[String], limits: Limits) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for tag in tags.iter().collect::<BTreeSet<_>>() {
        match batches.last_mut() {
            Some(batch) if batch.len() < limits.tags_max && bytes + 1 + tag.len() <= limits.bytes_max => {
                bytes += 1 + tag.len();
                batch.push(tag.clone());
            }
            _ => {
                bytes = tag.len();
                batches.push(vec![tag.clone()]);
            }
        }
    }
    batches
}

/// The path of an entity's page, of a view that is named by its entity alone.
pub fn path(view: &View, entity: &str) -> String {
    view.key.key(&segment(entity)).as_str().to_owned()
}

/// A text as one segment of a path (RFC 3986, 3.3): a `/` in it is no other segment.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
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
    use std::time::Duration;

    use lockstep_process::{Shutdown, retry};
    use lockstep_schemas::position::{Lsn, Position};

    use super::*;

    const LIMITS: Limits = Limits { tags_max: 2, bytes_max: 20, requests_per_second_max: 1_000 };

    fn tags(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_entity_is_one_segment() {
        for (entity, expected) in [("85123A", "85123A"), ("a/b c?", "a%2Fb%20c%3F"), ("é\\", "%C3%A9%5C")] {
            assert_eq!(segment(entity), expected);
        }
    }

    #[test]
    fn tags_share_requests() {
        let many: Vec<String> = (0..1_000).map(|n| format!("product:{n:05}")).collect();
        let limits = Limits { tags_max: usize::MAX, bytes_max: 4_000, requests_per_second_max: 1 };
        let cut = batches(&many, limits);
        assert!(cut.len() < 5 && cut.iter().all(|batch| batch.join(" ").len() <= limits.bytes_max));
        assert_eq!(cut.concat(), many);
        for (given, expected) in [
            (&["a", "b", "a"][..], vec![tags(&["a", "b"])]),
            (&["a", "b", "c"], vec![tags(&["a", "b"]), tags(&["c"])]),
            (&["aaaaaaaaaaaa", "bbbbbbbbbb"], vec![tags(&["aaaaaaaaaaaa"]), tags(&["bbbbbbbbbb"])]),
            (&["a-tag-too-long-for-a-request", "b"], vec![tags(&["a-tag-too-long-for-a-request"]), tags(&["b"])]),
            (&[], vec![]),
        ] {
            assert_eq!(batches(&tags(given), LIMITS), expected, "{given:?}");
        }
    }

    #[test]
    fn tags_are_header_texts() {
        assert_eq!(tag("product:a b,c"), "product:a%20b%2Cc");
        let long = |last: char| tag(&format!("{}{last}", "x".repeat(9_000)));
        assert!(long('a').len() < TAG_BYTES_MAX && long('a') != long('b'));
    }

    fn shelf() -> (Arc<Shelf>, Edge) {
        let shelf = Arc::new(Shelf::new(LIMITS));
        for (path, tag) in [("/a", "a"), ("/b", "b"), ("/c", "c")] {
            shelf.keep(path, &[tag, "all"], Position::before(1, Lsn(7)));
        }
        (shelf.clone(), Edge::of(shelf))
    }

    /// Whatever the CDN answers, a purge is tried until it is accepted; what was accepted without effect shows in a look.
    #[tokio::test]
    async fn a_purge_is_tried_until_it_is_accepted() {
        let (shelf, edge) = shelf();
        shelf.fail(&[Fault::Throttled(Duration::from_millis(1)), Fault::Broken, Fault::Silent]);
        let only = tags(&["a"]);
        let done = retry::until_ok("purging", &Shutdown::new(), || edge.purge(&only)).await;
        assert_eq!((done, shelf.requests().len()), (Some(()), 4));
        assert_eq!(edge.look("/a").await.expect("an answer").position, None);
        assert!(edge.look("/b").await.expect("an answer").position.is_some());

        shelf.fail(&[Fault::WithoutEffect]);
        edge.purge(&tags(&["b"])).await.expect("an accepted purge");
        assert!(edge.look("/b").await.expect("an answer").position.is_some(), "200 is a promise, and no proof");
    }
}
