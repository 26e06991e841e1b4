//! Whether a purge had an effect: an accepted one is a promise, a page that is asked for is the proof.

use std::collections::BTreeSet;

use lockstep_schemas::key::KeyPattern;
use lockstep_schemas::policy::{Policy, TierName};
use lockstep_schemas::position::Position;
use lockstep_tiers::{Edge, EdgeError};
use prometheus_client::metrics::counter::Counter;

/// The pages of a group, by what they are tagged with.
pub(crate) struct Proofs {
    /// Tag and path, both of one entity.
    pages: Vec<(KeyPattern, KeyPattern)>,
    without_effect: Counter,
}

impl Proofs {
    /// For one group; counts purges that turned out to have had no effect.
    pub fn new(policy: &Policy, group: &str, without_effect: Counter) -> Self {
        let views = policy.views_of(group).filter(|view| view.tier == TierName::L3 && view.key.is_plain());
        let pages = views.filter_map(|view| Some((view.tag.clone()?, view.key.clone())));
        Proofs { pages: pages.filter(|(tag, _)| tag.is_plain()).collect(), without_effect }
    }

    /// One page of those that were purged, where it is the process's time to look at one.
    pub fn choose(&self, edge: &Edge, tags: &BTreeSet<String>) -> Option<String> {
        tags.iter().find_map(|tag| self.path(tag)).filter(|_| edge.may_look())
    }

    /// Looks at a page. What the edge has kept of it must hold everything up to `purged`, for all that has been applied beneath.
    ///
    /// # Errors
    /// The page is from before. Where the edge, or the origin, does not tell, nothing is known, and that is no error.
    pub async fn look(&self, edge: &Edge, path: &str, purged: Position) -> Result<(), EdgeError> {
        match edge.look(path).await {
            Ok(seen) if seen.is_kept && seen.position.is_some_and(|position| position < purged) => {
                let path = path.to_owned();
                self.without_effect.inc();
                Err(EdgeError::WithoutEffect { path, purged })
            }
            _ => Ok(()),
        }
    }

    /// The page that a tag is of. A tag that had to be escaped or cut does not tell.
    fn path(&self, tag: &str) -> Option<String> {
        let is_plain = !tag.contains(['%', '~']);
        let mut found = self.pages.iter().filter(|_| is_plain);
        found.find_map(|(pattern, path)| Some(path.key(pattern.entity_of(tag)?).as_str().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockstep_schemas::policy::DEFAULT;
    use lockstep_schemas::position::Lsn;
    use lockstep_tiers::edge::{Fault, Limits, Shelf};

    use super::*;

    fn position(lsn: u64) -> Position {
        Position::before(1, Lsn(lsn))
    }

    #[tokio::test]
    async fn an_old_page_shows_that_a_purge_had_no_effect() {
        let shelf = Arc::new(Shelf::new(Limits { tags_max: 9, bytes_max: 99, requests_per_second_max: 9 }));
        // Each with a turn of its own.
        let edge = || Edge::of(shelf.clone());
        let proofs = Proofs::new(&Policy::parse(DEFAULT).expect("a policy"), "catalogue", Counter::default());
        let (path, tag) = ("/v1/product/7", "product:7".to_owned());
        assert_eq!(proofs.path(&tag).as_deref(), Some(path), "as the built-in policy has it");
        assert_eq!(proofs.path("product:a%20b"), None);
        shelf.keep(path, &[&tag], position(5));
        let (tags, turns) = (BTreeSet::from([tag]), edge());
        assert_eq!(proofs.choose(&turns, &tags).as_deref(), Some(path));
        assert_eq!(proofs.choose(&turns, &tags), None, "one look a second");

        let purge = async || edge().purge(&tags.iter().cloned().collect::<Vec<_>>()).await;
        shelf.fail(&[Fault::WithoutEffect]);
        purge().await.expect("an accepted purge");
        let seen = proofs.look(&edge(), path, position(6)).await;
        assert!(matches!(seen, Err(EdgeError::WithoutEffect { .. })), "{seen:?}");
        assert_eq!(proofs.without_effect.get(), 1);
        assert!(proofs.look(&edge(), path, position(5)).await.is_ok(), "the page holds what it must");
        purge().await.expect("an accepted purge");
        assert!(proofs.look(&edge(), path, position(6)).await.is_ok(), "it is gone");
    }
}
