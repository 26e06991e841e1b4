//! Which parked things are meant, and what a retry of each drops. Pure.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::parked::{Spot, Word};
use lockstep_schemas::signal::Signal;

use crate::cli::ParkedChoice;

/// Things to be resolved together, and those that can't be.
#[derive(Default)]
pub(super) struct Selection {
    /// Each with the group and subject whose entries are dropped.
    pub taken: BTreeMap<i64, Option<(String, Subject)>>,
    /// Each with why.
    pub left: BTreeMap<i64, String>,
}

impl Selection {
    /// What is dropped: an entity once, however often it was parked.
    pub fn signals(&self) -> Vec<Signal> {
        let mut subjects: BTreeMap<&str, BTreeSet<&Subject>> = BTreeMap::new();
        for (group, subject) in self.taken.values().flatten() {
            subjects.entry(group).or_default().insert(subject);
        }
        let signal = |(group, subjects): (&str, BTreeSet<&Subject>)| Signal::Invalidate {
            group: group.to_owned(),
            subjects: subjects.into_iter().cloned().collect(),
            views: BTreeSet::new(),
        };
        subjects.into_iter().map(signal).collect()
    }
}

/// Whether a choice means a thing. All that it names must fit.
pub(super) fn is_meant(choice: &ParkedChoice, id: i64, word: &Word) -> bool {
    let fits = |wanted: &Option<String>, text: &str| wanted.as_ref().is_none_or(|wanted| wanted == text);
    (choice.id.is_empty() || choice.id.contains(&id))
        && fits(&choice.kind, &word.reason)
        && fits(&choice.by, &word.by)
        && fits(&choice.table, &word.table)
}

/// Whose entries a retry drops. `read_again`: what a record that could not be read says now.
pub(super) fn subject(
    word: &Word,
    read_again: impl Fn(&Spot) -> Option<Result<(String, Subject), String>>,
) -> Result<(String, Subject), String> {
    match (&word.group, &word.entity, &word.record) {
        (Some(group), Some(entity), _) => Ok((group.clone(), Subject::entity(entity))),
        (_, _, Some(spot)) => read_again(spot).unwrap_or_else(|| Err("the record is gone; drop it".to_owned())),
        _ => Err("it concerns no entry: follow its remedy, then drop it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(reason: &str, entity: Option<&str>, record: Option<Spot>) -> Word {
        Word {
            by: "ingest".to_owned(),
            reason: reason.to_owned(),
            cause: String::new(),
            remedy: String::new(),
            table: "public.products".to_owned(),
            position: String::new(),
            group: entity.map(|_| "catalogue".to_owned()),
            entity: entity.map(str::to_owned),
            record,
        }
    }

    #[test]
    fn a_choice_is_exact() {
        let large = word("row-too-large", Some("7"), None);
        let choice = |id: &[i64], kind: Option<&str>, table: Option<&str>| ParkedChoice {
            id: id.to_vec(),
            kind: kind.map(str::to_owned),
            by: None,
            table: table.map(str::to_owned),
        };
        for (choice, expected) in [
            (choice(&[], None, None), true),
            (choice(&[3], None, None), true),
            (choice(&[4], None, None), false),
            (choice(&[], Some("row-too"), None), false),
            (choice(&[3], Some("row-too-large"), Some("public.products")), true),
            (choice(&[3], Some("row-too-large"), Some("public.prices")), false),
        ] {
            assert_eq!(is_meant(&choice, 3, &large), expected, "{choice:?}");
        }
    }

    #[test]
    fn a_retry_drops_what_is_concerned() {
        let spot = Spot { topic: "lockstep.catalogue".to_owned(), partition: 0, offset: 7 };
        let found = || Some(Ok(("catalogue".to_owned(), Subject::entity("8"))));
        let seven = ("catalogue".to_owned(), Subject::entity("7"));
        assert_eq!(subject(&word("row-too-large", Some("7"), None), |_| None), Ok(seven.clone()));
        let unreadable = word("unreadable", None, Some(spot));
        assert_eq!(subject(&unreadable, |_| found()), Ok(("catalogue".to_owned(), Subject::entity("8"))));
        assert!(subject(&unreadable, |_| Some(Err("still".to_owned()))).is_err_and(|why| why == "still"));
        assert!(subject(&word("score", None, None), |_| None).is_err());
        let taken = BTreeMap::from([(1, Some(seven.clone())), (2, Some(seven)), (3, None)]);
        let signals = Selection { taken, left: BTreeMap::new() }.signals();
        let [Signal::Invalidate { subjects, .. }] = &*signals else { panic!("{signals:?}") };
        assert_eq!(subjects, &[Subject::entity("7")]);
    }
}
