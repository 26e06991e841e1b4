//! How large a hot set is.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use super::warming::percent;

/// Members of a hot set whose size is not a number, at most: all of them are announced in one record.
const MEMBERS_MAX: usize = 20_000;
/// The size for which the forecast chooses its way where the size is not a number.
const CHOICE_SIZE: usize = 1_000;
/// Scores that are published for each place: some of the best may turn out to be gone.
const SCORES_PER_PLACE: usize = 2;

/// How large a hot set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotSet {
    /// So many members.
    Top(usize),
    /// So many hundredths of the catalogue.
    Share(u32),
    /// As few members as have covered so many hundredths of what was asked for lately.
    Covering(u32),
}

impl HotSet {
    /// Members at most, whatever is measured.
    pub fn members_max(self) -> usize {
        match self {
            HotSet::Top(members) => members,
            HotSet::Share(_) | HotSet::Covering(_) => MEMBERS_MAX,
        }
    }

    /// The size for which a forecast should choose.
    pub fn choice_size(self) -> usize {
        match self {
            HotSet::Top(members) => members,
            HotSet::Share(_) | HotSet::Covering(_) => CHOICE_SIZE,
        }
    }

    /// How many scores a forecast should publish.
    pub fn scores_max(self) -> usize {
        match self {
            HotSet::Top(members) => members.saturating_mul(SCORES_PER_PLACE),
            HotSet::Share(_) | HotSet::Covering(_) => MEMBERS_MAX,
        }
    }

    fn parse(text: &str) -> Option<HotSet> {
        match text.strip_prefix("covers ") {
            Some(share) => percent(share).map(HotSet::Covering),
            None => percent(text).map(HotSet::Share),
        }
    }
}

impl<'de> Deserialize<'de> for HotSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = HotSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number such as 1000, \"20%\" of the catalogue, or \"covers 80%\"")
            }

            fn visit_i64<E: Error>(self, members: i64) -> Result<HotSet, E> {
                usize::try_from(members)
                    .map(HotSet::Top)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(members), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HotSet, E> {
                HotSet::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_size() {
        for (text, expected) in [
            ("20%", Some(HotSet::Share(20))),
            ("20 %", Some(HotSet::Share(20))),
            ("covers 80%", Some(HotSet::Covering(80))),
            ("covers 80", None),
            ("0%", None),
            ("101%", None),
            ("most", None),
        ] {
            assert_eq!(HotSet::parse(text), expected, "{text}");
        }
    }
}
