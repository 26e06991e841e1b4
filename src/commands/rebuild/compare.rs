//! Two versions of a view's entries beside each other, and beside the rows where they differ.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lockstep_process::{Failure, Shutdown};
use lockstep_schemas::policy::View;

use super::entities::Entities;

/// Differences that are looked into; of more, the version is wrong anyway.
const DIFFERING_MAX: usize = 200_000;
const EXAMPLES_MAX: usize = 10;
/// A change reaches the two one after the other, and the row is read beside them: what differs is looked at again.
const LOOKS_MAX: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// What comparing has come to, in entries.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub same: u64,
    pub only_new: u64,
    pub only_old: u64,
    /// Of the old version, and not as their row.
    pub old_wrong: u64,
    /// Of the new version, and not as their row.
    pub wrong: u64,
    /// Keys of some of them, as people may see them.
    pub examples: Vec<String>,
}

impl Compared {
    /// The part of what readers have that the new version has too.
    pub fn covered(&self) -> f64 {
        let old = self.same + self.old_wrong + self.wrong + self.only_old;
        if old == 0 { 1.0 } else { 1.0 - self.only_old as f64 / old as f64 }
    }
}

/// An entry's columns; `None`: there is none.
type Columns = Option<BTreeMap<String, String>>;

pub(super) async fn compare(
    entities: &Entities<'_>,
    old: &View,
    new: &View,
    shutdown: &Shutdown,
) -> Result<Compared, Failure> {
    let (mut compared, mut differing) = (Compared::default(), Vec::new());
    let call = |entity: String| async move {
        let found = (entry(entities, old, &entity).await?, entry(entities, new, &entity).await?);
        Ok((entity, found))
    };
    let take = |(entity, found): (String, (Columns, Columns))| match found {
        (None, None) => {}
        (None, Some(_)) => compared.only_new += 1,
        (Some(_), None) => compared.only_old += 1,
        (Some(old), Some(new)) if old == new => compared.same += 1,
        _ if differing.len() < DIFFERING_MAX => differing.push(entity),
        _ => compared.wrong += 1,
    };
    entities.each(new, shutdown, call, take).await?;
    for look in 0..LOOKS_MAX {
        if differing.is_empty() || shutdown.is_cancelled() {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        differing = judged(entities, old, new, differing, look + 1 == LOOKS_MAX, &mut compared).await?;
    }
    Ok(compared)
}

/// Looks at entries that differed once more, beside their rows; gives those back that are to be looked at again.
async fn judged(
    entities: &Entities<'_>,
    old: &View,
    new: &View,
    differing: Vec<String>,
    is_last: bool,
    compared: &mut Compared,
) -> Result<Vec<String>, Failure> {
    let mut left = Vec::new();
    for chunk in differing.chunks(lockstep_source::loader::ENTITIES_MAX) {
        let rows = entities.loader.load(new, chunk).await.map_err(super::away)?;
        let rows: HashMap<String, Columns> = rows
            .into_iter()
            .map(|row| {
                let columns = |fields: lockstep_schemas::entry::Fields| {
                    fields.into_iter().map(|(name, text)| (name.to_string(), text)).collect()
                };
                (row.entity, row.fields.map(columns))
            })
            .collect();
        for entity in chunk {
            let away = |error| entities.away(&error);
            let was = entry(entities, old, entity).await.map_err(away)?;
            let is = entry(entities, new, entity).await.map_err(away)?;
            // One call changes both: where the old one stood still around the look at the new one, they differ indeed.
            if !is_last && was != entry(entities, old, entity).await.map_err(away)? {
                left.push(entity.clone());
                continue;
            }
            // Of a row that is gone there may be an absence, and there may be nothing.
            let row = Some(rows.get(entity).cloned().flatten().unwrap_or_default());
            match (was, is) {
                (_, None) => compared.only_old += 1,
                (None, Some(_)) => compared.only_new += 1,
                (was, is) if was == is => compared.same += 1,
                (_, is) if is == row => compared.old_wrong += 1,
                _ if !is_last => left.push(entity.clone()),
                _ => {
                    compared.wrong += 1;
                    if compared.examples.len() < EXAMPLES_MAX {
                        compared.examples.push(new.key.key(entity).to_string());
                    }
                }
            }
        }
    }
    Ok(left)
}

async fn entry(entities: &Entities<'_>, view: &View, entity: &str) -> Result<Columns, lockstep_tiers::TierError> {
    let place = entities.tier.layout().place(&view.group, entity);
    let mut fields = entities.tier.entry(&place, &view.key.key(entity)).await?;
    if fields.is_empty() {
        return Ok(None);
    }
    let is_absence = fields.contains_key("_neg");
    fields.retain(|name, _| !name.starts_with('_'));
    // An absence is kept like an entry, and has no columns.
    Ok(Some(if is_absence { BTreeMap::new() } else { fields.into_iter().collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_readers_have_is_covered() {
        let compared = Compared { same: 89, old_wrong: 1, only_old: 10, only_new: 500, ..Compared::default() };
        assert_eq!(compared.covered(), 0.9);
        assert_eq!(Compared::default().covered(), 1.0);
    }
}
