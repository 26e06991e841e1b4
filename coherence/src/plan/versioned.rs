//! Plans for views that have several versions of their entries: each that is kept in step has its own actions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::versions::Versions;

use super::Planner;

/// The versions of every view that has more than the first, or had.
pub type OfViews = BTreeMap<String, Versions>;

/// The planner of the newest versions, shared by all lanes.
pub struct Plans {
    policy: Arc<Policy>,
    newest: Mutex<(OfViews, Arc<Planner>)>,
}

impl Plans {
    /// Plans of a policy.
    pub fn new(policy: Arc<Policy>) -> Self {
        let first = Arc::new(Planner::new(&policy));
        Plans { policy, newest: Mutex::new((OfViews::new(), first)) }
    }

    /// The planner for some versions.
    pub fn at(&self, versions: &OfViews) -> Arc<Planner> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.0 != *versions {
            *newest = (versions.clone(), Arc::new(Planner::of_versions(&self.policy, versions)));
        }
        newest.1.clone()
    }
}

/// A view once for each version that is kept in step.
pub(super) fn kept(view: &Arc<View>, versions: &OfViews) -> Vec<Arc<View>> {
    match versions.get(&*view.name) {
        None => vec![view.clone()],
        Some(versions) => versions.kept().map(|version| Arc::new(view.at(version))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lockstep_schemas::invalidation::{Invalidation, Subject};
    use lockstep_schemas::policy::DEFAULT;
    use lockstep_schemas::position::{Lsn, Position};

    use super::*;

    fn keys(plans: &Plans, versions: &OfViews, views: &[&str]) -> Vec<String> {
        let asked = Invalidation {
            position: Position { epoch: 1, lsn: Lsn(7), ordinal: 1 },
            xid: 7,
            committed_at: 1,
            subject: Subject::entity("7"),
            views: views.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(),
        };
        let effects = plans.at(versions).invalidated("catalogue", &asked).expect("keys of the entity");
        effects.iter().filter_map(|effect| Some(effect.entry()?.key.as_str().to_owned())).collect()
    }

    #[test]
    fn each_version_has_its_own_actions() {
        let plans = Plans::new(Arc::new(Policy::parse(DEFAULT).expect("the default policy")));
        let begun = Versions::default().begun();
        let of = |versions| OfViews::from([("product_all".to_owned(), versions)]);
        assert_eq!(keys(&plans, &OfViews::new(), &["product_all"]), ["product:all:7"]);
        assert_eq!(keys(&plans, &of(begun), &["product_all"]), ["product:all:7", "~1~product:all:7"]);
        assert_eq!(keys(&plans, &of(begun.switched().finished()), &["product_all"]), ["~1~product:all:7"]);
        assert!(keys(&plans, &of(begun), &[]).contains(&"product:hot:7".to_owned()), "others have their first");
        assert!(keys(&plans, &of(begun), &["product_all@1"]).is_empty(), "a mark in the log drops nothing");
    }
}
