//! A CDN in memory: pages under tags, and answers as bad as CDNs give them. The twin of a vendor, for tests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lockstep_schemas::position::Position;
use reqwest::StatusCode;

use super::vendor::{Answer, EdgeError, Limits, Seen, Vendor};

/// What the next purge gets instead of being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429, and to wait so long.
    Throttled(Duration),
    /// 500.
    Broken,
    /// No answer.
    Silent,
    /// 200, and nothing is purged.
    WithoutEffect,
}

#[derive(Default)]
struct Pages {
    kept: BTreeMap<String, (BTreeSet<String>, Position)>,
    faults: VecDeque<Fault>,
    requests: Vec<Vec<String>>,
}

/// The CDN, and what its origin has.
pub struct Shelf {
    limits: Limits,
    pages: Mutex<Pages>,
}

impl Shelf {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Shelf { limits, pages: Mutex::default() }
    }

    /// Keeps a page, made of everything up to a position.
    pub fn keep(&self, path: &str, tags: &[&str], position: Position) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.with(|pages| drop(pages.kept.insert(path.to_owned(), (tags, position))));
    }

    /// What the next purges get, in this order.
    pub fn fail(&self, faults: &[Fault]) {
        self.with(|pages| pages.faults.extend(faults));
    }

    /// The tags of each request so far, whatever came of it.
    pub fn requests(&self) -> Vec<Vec<String>> {
        self.with(|pages| pages.requests.clone())
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Pages) -> T) -> T {
        use_it(&mut self.pages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Vendor for Shelf {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn purge<'a>(&'a self, tags: &'a [String]) -> Answer<'a, ()> {
        let done = self.with(|pages| {
            pages.requests.push(tags.to_vec());
            match pages.faults.pop_front() {
                None => {
                    pages.kept.retain(|_, (of, _)| !tags.iter().any(|tag| of.contains(tag)));
                    Ok(())
                }
                Some(Fault::WithoutEffect) => Ok(()),
                Some(Fault::Throttled(wait)) => Err(EdgeError::Throttled(StatusCode::TOO_MANY_REQUESTS, wait)),
                Some(Fault::Broken) => Err(EdgeError::Refused(StatusCode::INTERNAL_SERVER_ERROR)),
                Some(Fault::Silent) => Err(EdgeError::Away),
            }
        });
        Box::pin(std::future::ready(done))
    }

    fn look<'a>(&'a self, path: &'a str) -> Answer<'a, Seen> {
        let position = self.with(|pages| pages.kept.get(path).map(|(_, position)| *position));
        // What is not there comes from the origin, which is not part of this.
        let status = if position.is_some() { 200 } else { 404 };
        Box::pin(std::future::ready(Ok(Seen {
            status,
            position,
            is_kept: position.is_some(),
            is_of_the_database: false,
        })))
    }
}
