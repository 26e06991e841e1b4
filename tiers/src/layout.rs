//! How keys are laid out. On a cluster every key of a partition carries one hash tag, so that the watermark and the
//! entries it speaks for share a slot, move together, and are written in one call (docs/protocol.md, [7a], [70]-[73]).

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_schemas::key::{Key, MARKER_SUFFIX};
use lockstep_schemas::partition::{hash_tags, partition_of, slot_of};
use lockstep_schemas::policy::Policy;

/// The partition of a group to which an entity belongs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The group.
    pub group: Arc<str>,
    /// The partition.
    pub partition: u32,
}

/// Names of keys on every tier.
#[derive(Debug)]
pub struct Layout {
    namespace: String,
    partitions: u32,
    tags: BTreeMap<Arc<str>, Vec<String>>,
}

impl Layout {
    /// The layout of all groups of a policy.
    pub fn new(policy: &Policy, namespace: &str, partitions: u32) -> Self {
        let tags = policy.groups.keys().map(|group| (group.clone(), hash_tags(namespace, group, partitions)));
        Layout { namespace: namespace.to_owned(), partitions, tags: tags.collect() }
    }

    /// How many partitions a group has.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Where an entity belongs.
    pub fn place(&self, group: &Arc<str>, entity: &str) -> Place {
        Place { group: group.clone(), partition: partition_of(entity, self.partitions) }
    }

    /// The watermark hash of a place; named alike on every tier.
    pub fn watermark(&self, place: &Place) -> String {
        format!("{}_w", self.head(place))
    }

    /// The place's own marker, which tells what was touched while somebody fills many of its entries. Named alike on every
    /// tier.
    pub fn claims(&self, place: &Place) -> String {
        format!("{{{}}}{MARKER_SUFFIX}", self.tag(place))
    }

    /// The slot of a place on a cluster.
    pub fn slot(&self, place: &Place) -> u16 {
        slot_of(self.tag(place))
    }

    /// What stands before every name of a place on a cluster.
    pub(crate) fn head(&self, place: &Place) -> String {
        format!("{{{}}}:", self.tag(place))
    }

    /// What stands before every name of this installation on one node.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The tag of everything at the edge that was made from a place: by it all of that goes, where what changed is not
    /// known.
    pub fn partition_tag(place: &Place) -> String {
        format!("{}.{}", place.group, place.partition)
    }

    /// An entry's name: tagged on a cluster, plain on one node.
    pub(crate) fn entry(&self, place: &Place, key: &Key, tagged: bool) -> String {
        format!("{}{}", self.entry_head(place, tagged), key.as_str())
    }

    /// What stands before the key in every entry's name.
    pub(crate) fn entry_head(&self, place: &Place, tagged: bool) -> String {
        if tagged { self.head(place) } else { self.namespace.clone() }
    }

    fn tag(&self, place: &Place) -> &str {
        let tags = self.tags.get(&place.group).and_then(|tags| tags.get(place.partition as usize));
        tags.map_or("", String::as_str)
    }
}
