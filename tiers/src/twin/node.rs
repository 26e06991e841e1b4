//! A node in memory: hashes under names, some with an end, and a clock that only its owner moves.

use std::collections::BTreeMap;

/// A hash's fields.
pub type Hash = BTreeMap<String, String>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stored {
    fields: Hash,
    ends_ms: Option<u64>,
}

/// What one node holds. A clone of it is what a replica has: to fail over to an older one forgets what came after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    now_ms: u64,
    hashes: BTreeMap<String, Stored>,
}

impl Node {
    /// Milliseconds that have passed.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Lets time pass. What has come to its end is gone.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let now = self.now_ms;
        self.hashes.retain(|_, stored| stored.ends_ms.is_none_or(|ends| ends > now));
    }

    /// The node as an older copy has it, at this node's time: a fail-over that forgets a suffix.
    pub fn forget_since(&mut self, copy: &Node) {
        let passed = self.now_ms.saturating_sub(copy.now_ms);
        *self = copy.clone();
        self.pass(passed);
    }

    /// Removes one name, for whatever reason: an eviction, say. Whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.hashes.remove(name).is_some()
    }

    /// The names that may be evicted: those with an end.
    pub fn mortal(&self) -> impl Iterator<Item = &str> {
        self.hashes.iter().filter(|(_, stored)| stored.ends_ms.is_some()).map(|(name, _)| name.as_str())
    }

    /// Every name, with its fields and how long it has left.
    pub fn content(&self) -> impl Iterator<Item = (&str, &Hash, Option<u64>)> {
        self.hashes.iter().map(|(name, stored)| {
            let left = stored.ends_ms.map(|ends| ends.saturating_sub(self.now_ms));
            (name.as_str(), &stored.fields, left)
        })
    }

    /// A hash, where there is one.
    pub fn hash(&self, name: &str) -> Option<&Hash> {
        self.hashes.get(name).map(|stored| &stored.fields)
    }

    /// One field.
    pub fn field(&self, name: &str, field: &str) -> Option<&str> {
        self.hash(name)?.get(field).map(String::as_str)
    }

    /// Writes fields into a hash, which begins without an end.
    pub fn set(&mut self, name: &str, fields: &[(&str, &str)]) {
        let stored = self.hashes.entry(name.to_owned()).or_default();
        stored.fields.extend(fields.iter().map(|(field, text)| ((*field).to_owned(), (*text).to_owned())));
    }

    /// Removes a field, and with the last one the hash.
    pub fn unset(&mut self, name: &str, field: &str) {
        let Some(stored) = self.hashes.get_mut(name) else { return };
        stored.fields.remove(field);
        if stored.fields.is_empty() {
            self.hashes.remove(name);
        }
    }

    /// Adds to a field that is a number.
    pub fn add(&mut self, name: &str, field: &str, more: u64) {
        let count = self.field(name, field).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + more;
        self.set(name, &[(field, &count.to_string())]);
    }

    /// Gives a hash an end, so long from now.
    pub fn expire(&mut self, name: &str, ms: u64) {
        if let Some(stored) = self.hashes.get_mut(name) {
            stored.ends_ms = Some(self.now_ms + ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_end_goes_and_the_rest_stays() {
        let mut node = Node::default();
        node.set("w", &[("pos", "1")]);
        node.set("e", &[("stock", "1")]);
        node.expire("e", 10);
        node.pass(9);
        assert_eq!(node.mortal().collect::<Vec<_>>(), ["e"]);
        assert_eq!(node.content().map(|(_, _, left)| left).collect::<Vec<_>>(), [Some(1), None]);
        node.pass(1);
        assert_eq!((node.hash("e"), node.field("w", "pos")), (None, Some("1")));
    }

    #[test]
    fn a_fail_over_forgets_what_came_after_but_not_the_time() {
        let mut node = Node::default();
        node.set("marker", &[("nonce", "one")]);
        node.expire("marker", 3);
        node.set("w", &[("pos", "1")]);
        let copy = node.clone();
        node.set("w", &[("pos", "2")]);
        node.remove("marker");
        node.pass(2);
        let mut late = node.clone();
        node.forget_since(&copy);
        assert_eq!((node.field("w", "pos"), node.field("marker", "nonce")), (Some("1"), Some("one")));
        late.pass(1);
        late.forget_since(&copy);
        assert_eq!((late.field("w", "pos"), late.hash("marker")), (Some("1"), None));
    }
}
