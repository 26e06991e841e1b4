//! Which view and which entity a key in a tier belongs to, and where its watermark lies: the documented names, read
//! backward. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_schemas::invalidation;
use lockstep_schemas::key::MARKER_SUFFIX;
use lockstep_schemas::partition::{hash_tags, partition_of};
use lockstep_schemas::policy::{Policy, TierName, View};

use crate::edge::segment;
use crate::judge::Lenient;

/// Names of one installation's keys.
pub(crate) struct Names {
    namespace: String,
    partitions: u32,
    tags: BTreeMap<Arc<str>, Vec<String>>,
    views: Vec<Arc<View>>,
}

/// What a key is a copy of.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub view: Arc<View>,
    pub entity: String,
    /// Texts of other columns that the key tells.
    pub columns: BTreeMap<String, String>,
    /// The key in the tier; at the edge the page's path.
    pub key: String,
    /// The watermark that speaks for it.
    pub mark: String,
}

impl Subject {
    /// Where the lease of whoever fills the copy lies.
    pub fn lease(&self) -> String {
        format!("{}{MARKER_SUFFIX}", self.key)
    }
}

impl Names {
    pub fn new(policy: &Policy, namespace: &str, partitions: u32) -> Self {
        let tags = policy.groups.keys().map(|group| (group.clone(), hash_tags(namespace, group, partitions)));
        let views = policy.views.values().cloned().collect();
        Names { namespace: namespace.to_owned(), partitions, tags: tags.collect(), views }
    }

    /// What a key is a copy of; `None`: of no row (a watermark, a lease, a session, somebody else's).
    pub fn subject(&self, tier: TierName, key: &str, is_cluster: bool) -> Option<Subject> {
        let (tag, name) = if is_cluster {
            let (tag, name) = key.strip_prefix('{')?.split_once("}:")?;
            (Some(tag), name)
        } else {
            (None, key.strip_prefix(&*self.namespace)?)
        };
        // A marker, of an entry or of its place.
        if key.ends_with(MARKER_SUFFIX) {
            return None;
        }
        let mut of_tier = self.views.iter().filter(|view| view.tier == tier);
        let (view, found) = of_tier.find_map(|view| Some((view, view.key.subject_of(name)?)))?;
        let (entity, columns) = (found.entity, found.columns);
        let own = self.tag(&view.group, &entity)?;
        // Under another tag lies nothing of ours: no call of ours would find it.
        if tag.is_some_and(|tag| tag != own) {
            return None;
        }
        Some(Subject { view: view.clone(), entity, columns, key: key.to_owned(), mark: format!("{{{own}}}:_w") })
    }

    /// Partitions of a group.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// An entity's entry in a tier, of one version of the view's entries.
    pub fn entry(&self, view: &Arc<View>, version: u32, entity: &str, is_cluster: bool) -> Option<Subject> {
        let (tag, name) = (self.tag(&view.group, entity)?, view.key.key_in(version, entity));
        let (name, mark) = (name.as_str(), format!("{{{tag}}}:_w"));
        let key = if is_cluster { format!("{{{tag}}}:{name}") } else { format!("{}{name}", self.namespace) };
        Some(Subject { view: view.clone(), entity: entity.to_owned(), columns: BTreeMap::new(), key, mark })
    }

    /// Where an entity's page at the edge is told of: the watermark on L2.
    pub fn page(&self, view: &Arc<View>, entity: &str) -> Option<Subject> {
        let mark = format!("{{{}}}:_w", self.tag(&view.group, entity)?);
        let key = view.key.key(&segment(entity)).as_str().to_owned();
        Some(Subject { view: view.clone(), entity: entity.to_owned(), columns: BTreeMap::new(), key, mark })
    }

    /// Every watermark of a tier: group, partition, name.
    pub fn marks(&self, policy: &Policy, tier: TierName) -> Vec<(Arc<str>, u32, String)> {
        let mut marks = Vec::new();
        for (group, tags) in &self.tags {
            if policy.tiers_of(group).contains(&tier) {
                let named = tags.iter().zip(0..).map(|(tag, at)| (group.clone(), at, format!("{{{tag}}}:_w")));
                marks.extend(named);
            }
        }
        marks
    }

    /// What SCAN is to look for.
    pub fn pattern(&self, is_cluster: bool) -> String {
        let escaped: String =
            self.namespace.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect();
        if is_cluster { format!("{{{escaped}*") } else { format!("{escaped}*") }
    }

    fn tag(&self, group: &str, entity: &str) -> Option<&str> {
        let tags = self.tags.get(group)?;
        tags.get(partition_of(entity, self.partitions) as usize).map(String::as_str)
    }
}

impl Subject {
    /// As an invalidation names it.
    pub fn named(&self) -> invalidation::Subject {
        invalidation::Subject { entity: self.entity.clone(), columns: self.columns.clone() }
    }
}

/// How strictly copies of a view are judged.
pub(crate) struct Strictness {
    /// Spared is what need not reach a copy, or not yet: columns behind a test, and those that wait for a pass.
    pub at_first: Lenient,
    /// Once a pass is overdue: only columns behind a test are spared.
    pub at_last: Lenient,
    /// How long columns may wait; `None`: none of them does.
    pub wait_max: Option<Duration>,
}

impl Strictness {
    pub fn of(policy: &Policy, view: &View) -> Self {
        let mut waits = false;
        let mut may_wait = |field: &str| {
            let may_wait = policy.may_wait(view, field);
            waits |= may_wait;
            may_wait
        };
        let at_first = lenient(view, &mut may_wait);
        // A page, or a view through another one, may be made of any that waits.
        let wait_max = policy.views_of(&view.group).filter_map(|view| view.deferred).max();
        Strictness { at_first, at_last: lenient(view, &mut |_| false), wait_max: wait_max.filter(|_| waits) }
    }
}

/// The fields behind a test, and those that may wait.
fn lenient(view: &View, may_wait: &mut impl FnMut(&str) -> bool) -> Lenient {
    let mut lenient = Lenient::default();
    for source in &view.sources {
        let is_tested = source.when.is_some();
        match &source.rows {
            Some(rows) if is_tested || may_wait(&rows.field("")) => lenient.rows.push(rows.clone()),
            Some(_) => {}
            None => {
                let spared = source.columns.iter().filter(|column| is_tested || may_wait(column));
                lenient.columns.extend(spared.map(|column| column.to_string()));
            }
        }
    }
    lenient
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::policy::DEFAULT;

    use super::*;

    fn names(namespace: &str) -> Names {
        Names::new(&Policy::parse(DEFAULT).expect("the default policy"), namespace, 16)
    }

    #[test]
    fn a_key_is_a_copy_of_a_row_or_of_none() {
        let names = names("");
        let check = |tier, key: &str, is_cluster, expected: Option<(&str, &str)>| {
            let subject = names.subject(tier, key, is_cluster);
            let found = subject.as_ref().map(|subject| (&*subject.view.name, &*subject.entity));
            assert_eq!(found, expected, "{key}");
        };
        check(TierName::L2, "product:all:22041", false, Some(("product_all", "22041")));
        check(TierName::L2, "product:hot:22041", false, None);
        check(TierName::L2, "product:all:22041:_lease", false, None);
        check(TierName::L2, "{catalogue.00}:_w", false, None);
        let tag = names.tag("customers", "7").expect("a tag");
        check(TierName::L1, &format!("{{{tag}}}:user:7"), true, Some(("profile", "7")));
        check(TierName::L1, "{customers.99}:user:7", true, None);
        check(TierName::L1, "user:7", true, None);
    }

    #[test]
    fn others_share_the_server() {
        let names = names("a*");
        assert!(names.subject(TierName::L2, "product:all:1", false).is_none());
        let subject = names.subject(TierName::L2, "a*product:all:1", false).expect("ours");
        assert!(subject.mark.starts_with("{a*catalogue.") && subject.mark.ends_with("}:_w"), "{}", subject.mark);
        assert_eq!(names.pattern(true), "{a\\**");
    }
}
