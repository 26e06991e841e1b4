//! Wrong copies are mended as an operator would: by an invalidation through the log, so that the lane of the partition,
//! which alone writes to the tiers, drops them in order. The auditor itself writes into no tier.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_process::Shutdown;
use lockstep_process::clock::now_micros;
use lockstep_process::retry::until_ok;
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::policy::{Policy, TierName, View};
use lockstep_schemas::signal::{SUBJECT_BYTES_MAX, Signal};
use lockstep_source::{Database, signals};
use tokio::sync::mpsc::Receiver;

use crate::findings::Violation;
use crate::shared::Shared;

/// Violations that wait for their repair; more are left for the next walk.
pub(crate) const WAITING_MAX: usize = 1_000;
/// An invalidation asked for is on its way for so long: the same copy met meanwhile needs no other one.
const UNDER_WAY: Duration = Duration::from_secs(30);

/// Whose entries are to go, of which views: of all where there are none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repair {
    /// The group.
    pub group: Arc<str>,
    /// The entity, with what is known of other columns.
    pub subject: Subject,
    /// The views.
    pub views: BTreeSet<String>,
}

impl Repair {
    /// What mends a wrong copy: everything made of the same entity goes, since one copy may have been made of another.
    /// `None`: no invalidation names it.
    ///
    /// Views whose keys need columns that are not known stay as they are: an invalidation of those would raise the floor
    /// of the partition, and drop all that it holds.
    pub fn of(policy: &Policy, violation: &Violation) -> Option<Repair> {
        let wrong = policy.views.get(&*violation.view)?;
        let subject = violation.entity.subject();
        if !is_named(wrong, subject) || subject.bytes() > SUBJECT_BYTES_MAX {
            return None;
        }
        let named: BTreeSet<String> = policy
            .views_of(&wrong.group)
            .filter(|view| is_named(view, subject))
            .map(|view| view.name.to_string())
            .collect();
        let is_all = named.len() == policy.views_of(&wrong.group).count();
        let views = if is_all { BTreeSet::new() } else { named };
        Some(Repair { group: wrong.group.clone(), subject: subject.clone(), views })
    }

    /// As it is asked for.
    pub fn signal(&self) -> Signal {
        let Repair { group, subject, views } = self.clone();
        Signal::Invalidate { group: group.to_string(), subjects: vec![subject], views }
    }
}

/// Whether an invalidation of this subject names the view's entry, or its page's tag.
fn is_named(view: &View, subject: &Subject) -> bool {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let text = |column: &str| subject.columns.get(column).map(String::as_str);
    pattern.is_some_and(|pattern| pattern.is_plain() || pattern.key_of(&subject.entity, text).is_some())
}

/// Asks for repairs, some a second, until shutdown.
pub(crate) async fn repair(
    shared: Arc<Shared>,
    database: Database,
    mut wrong: Receiver<Violation>,
    shutdown: Shutdown,
) {
    let pause = Duration::from_secs_f64(1.0 / f64::from(shared.config.repairs_per_second.max(1)));
    let mut under_way: HashMap<Repair, Instant> = HashMap::new();
    loop {
        let violation = tokio::select! {
            violation = wrong.recv() => violation,
            () = shutdown.cancelled() => return,
        };
        let Some(violation) = violation else { return };
        under_way.retain(|_, since| since.elapsed() < UNDER_WAY);
        let Some(repair) = Repair::of(&shared.auditor.policy, &violation) else {
            tracing::warn!(%violation, "a wrong copy can't be repaired: no invalidation names it");
            continue;
        };
        if let Entry::Vacant(place) = under_way.entry(repair) {
            let signal = [place.key().signal()];
            let send = || signals::send_all(&database, &signal);
            let Some(lsn) = until_ok("asking for a repair", &shutdown, send).await else { return };
            place.insert(Instant::now());
            shared.metrics.repaired(&violation.tier, &violation.view);
            if shared.may_tell_repair() {
                tracing::warn!(%violation, %lsn, "a wrong copy is repaired: its entity is dropped from every tier");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
        shared.with_notes(|notes| notes.repaired(&violation, now_micros()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_schemas::policy::DEFAULT;

    use super::*;
    use crate::notes::tests::violation;

    /// A shelf's key has a column besides the entity.
    const SHELF: &str = r#"
        [views.shelf]
        group = "catalogue"
        tiers = ["l2"]
        key = "shelf:{category}:{product_id}"
        ttl = "1h"
        sources = [{ table = "public.products", columns = ["product_id", "category"] }]
    "#;

    fn check(policy: &str, view: &str, columns: &[(&str, &str)], expected: Option<&[&str]>) {
        let policy = Policy::parse(policy).unwrap_or_else(|why| panic!("{why}"));
        let columns: BTreeMap<_, _> = columns.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let subject = Subject { entity: "7".to_owned(), columns };
        let wrong = Violation { view: view.to_owned(), entity: subject.clone().into(), ..violation("key") };
        let views = |views: &[&str]| views.iter().map(|view| view.to_string()).collect();
        let group = policy.views[view].group.clone();
        let expected = expected.map(|of| Repair { group, subject, views: views(of) });
        assert_eq!(Repair::of(&policy, &wrong), expected);
    }

    #[test]
    fn everything_of_the_entity_goes_and_nothing_else() {
        check(DEFAULT, "product_all", &[], Some(&[]));
        check(DEFAULT, "product_page", &[], Some(&[]));
        let with_shelf = format!("{DEFAULT}\n{SHELF}");
        check(&with_shelf, "product_all", &[], Some(&["product_all", "product_hot", "product_page"]));
        check(&with_shelf, "shelf", &[("category", "bowls")], Some(&[]));
        check(&with_shelf, "shelf", &[], None);
    }
}
