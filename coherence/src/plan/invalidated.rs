//! What an invalidation that no change asks for does: it drops, in every tier, whatever was made of its entity.

use std::sync::Arc;

use lockstep_schemas::invalidation::{Invalidation, WHOLE_PARTITION};
use lockstep_schemas::policy::{TierName, View};
use lockstep_tiers::{Action, edge};

use super::{Effect, EntryAction, NoEntity, Planner};

impl Planner {
    /// The effects of an invalidation in a group. Where the key of a view that it means has columns which it does not tell,
    /// it can't be planned: which entry is meant is not in the log.
    pub fn invalidated(&self, group: &str, asked: &Invalidation) -> Result<Vec<Effect>, NoEntity> {
        if asked.views.contains(WHOLE_PARTITION) {
            return Err(NoEntity);
        }
        let views = self.groups.get(group).map_or(&[][..], Vec::as_slice);
        let meant = views.iter().filter(|view| asked.views.is_empty() || asked.views.contains(&*view.name));
        let effects = meant.map(|view| effect(view, asked).map(Option::into_iter));
        Ok(effects.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

fn effect(view: &Arc<View>, asked: &Invalidation) -> Result<Option<Effect>, NoEntity> {
    let pattern = if view.tier == TierName::L3 { view.tag.as_ref() } else { Some(&view.key) };
    let Some(pattern) = pattern else { return Ok(None) };
    let (entity, columns) = (&asked.subject.entity, &asked.subject.columns);
    let key = if pattern.is_plain() {
        pattern.key(entity)
    } else {
        pattern.key_of(entity, |column| columns.get(column).map(String::as_str)).ok_or(NoEntity)?
    };
    Ok(Some(match view.tier {
        TierName::L3 => Effect::Purge(edge::tag(key.as_str())),
        _ => Effect::Entry(EntryAction::new(view.clone(), entity.as_str().into(), key, Action::Invalidate)),
    }))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use lockstep_schemas::invalidation::Subject;
    use lockstep_schemas::policy::{DEFAULT, Policy};
    use lockstep_schemas::position::{Lsn, Position};

    use super::*;

    const SHELVES: &str = r#"
        [groups.catalogue]
        entity_key = "product_id"
        tables = ["public.products"]
        [views.shelf]
        group = "catalogue"
        tiers = ["l2"]
        key = "shelf:{category}:{product_id}"
        ttl = "1h"
        sources = [{ table = "public.products", columns = ["product_id", "category"] }]
    "#;

    fn check(policy: &str, views: &[&str], columns: &[(&str, &str)], expected: Result<&[&str], NoEntity>) {
        let columns: BTreeMap<_, _> = columns.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        let asked = Invalidation {
            position: Position { epoch: 1, lsn: Lsn(10), ordinal: 1 },
            xid: 7,
            committed_at: 0,
            subject: Subject { entity: "7".to_owned(), columns },
            views: views.iter().map(|view| view.to_string()).collect::<BTreeSet<_>>(),
        };
        let policy = Policy::parse(policy).unwrap_or_else(|why| panic!("{why}"));
        let told = Planner::new(&policy).invalidated("catalogue", &asked).map(|effects| {
            let text = |effect: &Effect| match effect {
                Effect::Purge(tag) => format!("purge {tag}"),
                Effect::Entry(entry) if entry.action == Action::Invalidate => format!("invalidate {}", entry.key),
                Effect::Entry(entry) => format!("something else with {}", entry.key),
            };
            effects.iter().map(text).collect::<Vec<_>>()
        });
        let expected = expected.map(|lines| lines.iter().map(|line| line.to_string()).collect::<Vec<_>>());
        assert_eq!(told, expected);
    }

    #[test]
    fn every_tier_drops_what_was_made_of_the_entity() {
        let all = ["invalidate product:all:7", "invalidate product:hot:7", "purge product:7"];
        check(DEFAULT, &[], &[], Ok(&all));
        check(DEFAULT, &["product_all", "product_page"], &[], Ok(&[all[0], all[2]]));
        check(DEFAULT, &["no_such_view"], &[], Ok(&[]));
        check(SHELVES, &[], &[("category", "b:s")], Ok(&["invalidate shelf:b%3As:7"]));
        check(SHELVES, &[], &[], Err(NoEntity));
        check(DEFAULT, &[WHOLE_PARTITION], &[], Err(NoEntity));
    }
}
