//! Whether an entry of somebody else's cache is right, and why not, where that can be told. Pure.

use std::time::Duration;

use lockstep_schemas::policy;
use serde::Serialize;
use serde_json::Value as Json;

use crate::judge::Fields;

/// One reading of an entry and its row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The fields of the entry that the file names; `None`: there is no such key, or it is of another form.
    pub copy: Option<Fields>,
    /// Whether there is such a key.
    pub is_there: bool,
    /// The same of the row.
    pub row: Option<Fields>,
    /// Whether the key has several rows: which one is meant, nobody can tell.
    pub is_ambiguous: bool,
    /// Which version of which rows that is.
    pub version: String,
    /// How long the entry still lives; `None`: for ever.
    pub left: Option<Duration>,
    /// How long ago the row was last changed.
    pub changed_ago: Option<Duration>,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It says what the row says.
    Right,
    /// It went while we looked.
    Gone,
    /// It is of another type than the file says, or no JSON object: nobody can read it as an entry.
    Unreadable,
    /// Its row changed while we looked.
    InFlight,
    /// Its key has several rows.
    Ambiguous,
    /// It is of no row.
    NoRow,
    /// It differs, and nothing will ever end it.
    NeverEnds,
    /// It differs, and is older than the row's last change: that did not invalidate it.
    NotInvalidated,
    /// It differs, although it was written after the row's last change: a reader was overtaken.
    FilledStale,
    /// It differs; neither its age nor that of the change is known.
    Stale,
}

impl Fate {
    /// All that are wrong.
    pub const WRONG: [Fate; 6] =
        [Fate::Unreadable, Fate::NoRow, Fate::NeverEnds, Fate::NotInvalidated, Fate::FilledStale, Fate::Stale];

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Fate::Right => "right",
            Fate::Gone => "gone",
            Fate::Unreadable => "of another type, or no JSON object",
            Fate::InFlight => "in flight",
            Fate::Ambiguous => "not to be judged: the column of the key has several rows for it",
            Fate::NoRow => "key without row",
            Fate::NeverEnds => "stale, without an end",
            Fate::NotInvalidated => "stale, never invalidated",
            Fate::FilledStale => "stale when it was filled",
            Fate::Stale => "stale",
        }
    }
}

/// Judges two readings, a settling time apart. `ttl` is the life with which an entry begins.
pub(crate) fn judge(first: &Reading, second: &Reading, ttl: Option<Duration>) -> Fate {
    let Some(copy) = &second.copy else {
        let stays = first.copy.is_none() && first.is_there && second.is_there;
        return if stays { Fate::Unreadable } else { Fate::Gone };
    };
    if first.is_ambiguous || second.is_ambiguous {
        return Fate::Ambiguous;
    }
    match &second.row {
        Some(row) if same(copy, row) => return Fate::Right,
        _ if first.version != second.version || first.row.is_some() != second.row.is_some() => return Fate::InFlight,
        // It was right, and somebody has just written it.
        Some(_) if first.copy.as_ref() != Some(copy) => return Fate::InFlight,
        Some(_) => {}
        None => return Fate::NoRow,
    }
    let Some(left) = second.left else { return Fate::NeverEnds };
    // Of one that lives longer than entries begin with, nobody knows when it began.
    let age = ttl.and_then(|ttl| ttl.checked_sub(left));
    match (age, second.changed_ago) {
        (Some(age), Some(changed_ago)) if age > changed_ago => Fate::NotInvalidated,
        (Some(_), Some(_)) => Fate::FilledStale,
        _ => Fate::Stale,
    }
}

/// The fields that differ.
pub(crate) fn differences(copy: &Fields, row: &Fields) -> Vec<String> {
    let names = copy.keys().chain(row.keys().filter(|name| !copy.contains_key(*name)));
    let differs = |name: &&String| match (copy.get(*name), row.get(*name)) {
        (Some(copy), Some(row)) => !alike(copy, row),
        (copy, row) => copy.map_or("", |text| text) != row.map_or("", |text| text),
    };
    names.filter(differs).cloned().collect()
}

fn same(copy: &Fields, row: &Fields) -> bool {
    differences(copy, row).is_empty()
}

/// Whether two texts are one number, with all its digits. With zeros before it, a text is a name.
fn are_one_number(copy: &str, row: &str) -> bool {
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.trim_start_matches(['-', '+']);
        let is_padded = digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        (!is_padded).then(|| policy::number(text)).flatten()
    };
    number(copy).is_some_and(|copy| number(row) == Some(copy))
}

/// A JSON document, whatever its spaces and the order of its members.
fn document(text: &str) -> Option<Json> {
    let is_document = text.trim_start().starts_with(['{', '[']);
    is_document.then(|| serde_json::from_str(text).ok()).flatten()
}

/// Whether two texts mean one value: others write numbers, booleans, times and documents in ways of their own.
fn alike(copy: &str, row: &str) -> bool {
    let truth = |text: &str| match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" => Some(true),
        "false" | "f" | "0" | "no" => Some(false),
        _ => None,
    };
    let time = |text: &str| {
        let text = text.replacen(' ', "T", 1);
        let text =
            text.strip_suffix("+00:00").or_else(|| text.strip_suffix("+00")).unwrap_or(&text).trim_end_matches('Z');
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_time = seconds.len() == 19 && seconds.as_bytes().get(10) == Some(&b'T');
        is_time.then(|| (seconds.to_owned(), fraction.trim_end_matches('0').to_owned()))
    };
    let of_row_is_boolean = matches!(row, "true" | "false");
    copy == row
        || are_one_number(copy, row)
        || document(copy).is_some_and(|copy| document(row) == Some(copy))
        || (of_row_is_boolean && truth(copy).is_some() && truth(copy) == truth(row))
        || time(copy).is_some_and(|copy| time(row) == Some(copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Option<Duration> = Some(Duration::from_secs(3_600));

    fn fields(price: &str) -> Option<Fields> {
        Some(Fields::from([("price".to_owned(), price.to_owned())]))
    }

    fn reading(copy: &str, row: Option<&str>, left_s: u64, changed_s: Option<u64>) -> Reading {
        Reading {
            copy: fields(copy),
            is_there: true,
            is_ambiguous: false,
            row: row.and_then(fields),
            version: format!("{row:?}"),
            left: Some(Duration::from_secs(left_s)),
            changed_ago: changed_s.map(Duration::from_secs),
        }
    }

    #[test]
    fn causes_are_told_by_age() {
        let check = |reading: Reading, expected| assert_eq!(judge(&reading, &reading, TTL), expected, "{reading:?}");
        check(reading("5", Some("5.0"), 60, None), Fate::Right);
        check(reading("5", None, 60, None), Fate::NoRow);
        check(reading("5", Some("6"), 3_000, Some(300)), Fate::NotInvalidated);
        check(reading("5", Some("6"), 3_500, Some(300)), Fate::FilledStale);
        check(reading("5", Some("6"), 3_500, None), Fate::Stale);
        check(Reading { left: None, ..reading("5", Some("6"), 0, Some(300)) }, Fate::NeverEnds);
        check(reading("5", Some("6"), 4_000, Some(300)), Fate::Stale);
        check(Reading { is_ambiguous: true, ..reading("5", Some("5"), 60, None) }, Fate::Ambiguous);
        check(Reading { copy: None, is_there: false, ..reading("5", Some("6"), 0, None) }, Fate::Gone);
        check(Reading { copy: None, ..reading("5", Some("6"), 0, None) }, Fate::Unreadable);
    }

    #[test]
    fn what_moves_is_in_flight() {
        let (old, new) = (reading("5", Some("5"), 60, None), reading("5", Some("6"), 60, None));
        assert_eq!(judge(&old, &new, TTL), Fate::InFlight, "the row has just changed");
        let just_written = reading("7", Some("6"), 60, None);
        assert_eq!(judge(&new, &just_written, TTL), Fate::InFlight, "the entry has just changed");
    }

    #[test]
    fn others_write_values_in_ways_of_their_own() {
        for (copy, row) in [
            ("1", "true"),
            ("4.50", "4.5"),
            ("2026-01-02T03:04:05Z", "2026-01-02 03:04:05.000+00"),
            (r#"{"a":[1,2]}"#, r#"{"a": [1, 2]}"#),
            ("1e3", "1000"),
        ] {
            assert!(alike(copy, row), "{copy} {row}");
        }
        for (copy, row) in [
            ("1", "10"),
            ("t", "truth"),
            ("a", "b"),
            ("0", "true"),
            ("023", "23"),
            ("9007199254740993", "9007199254740992"),
            ("125.0000000000000001", "125"),
            ("[1]", "[2]"),
        ] {
            assert!(!alike(copy, row), "{copy} {row}");
        }
    }
}
