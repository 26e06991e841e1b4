//! Versions of a view's entries. A view is made anew beside the entries that there are: under names of another version, which
//! the engine keeps in step from some place in the log on. Then readers are switched to it, and may be switched back for as
//! long as both are kept.

use serde::{Deserialize, Serialize};

/// Which versions of a view there are. The first is 0; a number is never used again, since what lies under its names may be
/// of old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Readers read it, and fill it.
    pub read: u32,
    /// It is kept in step beside that one: the one that is being made, or the one that readers may go back to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub beside: Option<u32>,
    /// The newest that there ever was.
    pub last: u32,
}

impl Versions {
    /// Those that are kept in step.
    pub fn kept(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.read).chain(self.beside)
    }

    /// Whether the one beside is newer than the one that is read: it is being made, or readers went back.
    pub fn is_ahead(self) -> bool {
        self.beside.is_some_and(|beside| beside > self.read)
    }

    /// With a new one beside the one that is read.
    pub fn begun(self) -> Self {
        Versions { beside: Some(self.last + 1), last: self.last + 1, ..self }
    }

    /// Readers read the other one.
    pub fn switched(self) -> Self {
        self.beside.map_or(self, |beside| Versions { read: beside, beside: Some(self.read), ..self })
    }

    /// Without the other one.
    pub fn finished(self) -> Self {
        Versions { beside: None, ..self }
    }
}

/// How an invalidation names the entries of one version of a view. A lane that has not heard of the version waits at it: so
/// whoever has seen a lane pass it knows that the version is kept in step from there on.
pub fn named(view: &str, version: u32) -> String {
    format!("{view}@{version}")
}

/// View and version of such a name; `None`: it is a view's.
pub fn of_name(name: &str) -> Option<(&str, u32)> {
    let (view, version) = name.rsplit_once('@')?;
    Some((view, version.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_never_used_again() {
        let begun = Versions::default().begun();
        assert_eq!(begun, Versions { read: 0, beside: Some(1), last: 1 });
        assert!(begun.is_ahead() && begun.kept().eq([0, 1]));
        let switched = begun.switched();
        assert_eq!(switched, Versions { read: 1, beside: Some(0), last: 1 });
        assert!(!switched.is_ahead() && switched.switched() == begun);
        assert_eq!(switched.switched().finished().begun(), Versions { read: 0, beside: Some(2), last: 2 });
        assert_eq!(Versions::default().switched(), Versions::default());
    }

    #[test]
    fn a_version_has_a_name() {
        assert_eq!(of_name(&named("product_all", 12)), Some(("product_all", 12)));
        assert_eq!((of_name("product_all"), of_name("a@b")), (None, None));
    }
}
