//! What is asked of ingest through the log: logical messages, sent by `pg_logical_emit_message` in a transaction, and so in
//! order with every change. Their prefix is the slot of the ingest that is meant: every slot carries all of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::invalidation::Subject;
use crate::parked::Outcome;
use crate::shown::JsonFault;

/// Subjects of one invalidation; of more, whoever asks sends more of them.
pub const SUBJECTS_MAX: usize = 500;
/// Bytes of one subject's texts.
pub const SUBJECT_BYTES_MAX: usize = 16_384;

/// Bytes of a name, an id or a reason: what ingest writes of a signal has to fit into a record.
pub const TEXT_BYTES_MAX: usize = 1_000;
/// Tables of one snapshot, views of one invalidation, parked things of one resolution.
pub const NAMES_MAX: usize = 1_000;

/// What is none of ours, or more than anybody asks for.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// It can't be read.
    #[error(transparent)]
    Form(#[from] JsonFault),
    /// A part of it is too long, or there are too many of it.
    #[error("its {0} is beyond what one signal may have")]
    TooMuch(&'static str),
}

/// A wish, or a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Signal {
    /// Publish every row of some tables, beside the changes.
    Snapshot {
        /// Chosen by who asks; the same one twice is one wish.
        id: String,
        /// `schema.table`.
        tables: Vec<String>,
    },
    /// Give up snapshots that are wished for or under way.
    StopSnapshot {
        /// Only this one; all without it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        id: Option<String>,
    },
    /// The edge of a window in which a chunk of a snapshot is read. Only ingest itself sends it.
    Window {
        /// Of which chunk.
        chunk: u64,
        /// Which edge.
        edge: Edge,
    },
    /// Drop entries, though no change asks for it: a repair, or a purge by hand.
    Invalidate {
        /// The group of all subjects.
        group: String,
        /// Whose entries: at most [`SUBJECTS_MAX`].
        subjects: Vec<Subject>,
        /// Only those of these views; of all where it is empty.
        #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
        views: BTreeSet<String>,
    },
    /// Drop everything that was made of a group: what of it is out of date is not known.
    Forget {
        /// The group.
        group: String,
        /// The table for whose sake, if it is one's.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        table: Option<String>,
    },
    /// Say what came of parked things.
    Resolve {
        /// Their offsets in the parked topic.
        parked: Vec<i64>,
        /// What came of them.
        outcome: Outcome,
        /// Why, in the operator's words.
        why: String,
    },
    /// Nothing but a sign that this database's log moves.
    Heartbeat,
}

/// An edge of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// Before the chunk is read.
    Low,
    /// After.
    High,
}

impl Signal {
    /// The message's content.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From the message's content.
    pub fn from_json(content: &[u8]) -> Result<Self, SignalError> {
        let signal: Signal = serde_json::from_slice(content).map_err(JsonFault::from)?;
        signal.excess().map_or(Ok(signal), |part| Err(SignalError::TooMuch(part)))
    }

    /// The part that is beyond its bound, if one is. (Subjects are looked at where they are used.)
    pub fn excess(&self) -> Option<&'static str> {
        let long = |text: &str| text.len() > TEXT_BYTES_MAX;
        match self {
            Signal::Snapshot { id, .. } | Signal::StopSnapshot { id: Some(id) } if long(id) => Some("id"),
            Signal::Snapshot { tables, .. } if tables.len() > NAMES_MAX || tables.iter().any(|name| long(name)) => {
                Some("list of tables")
            }
            Signal::Invalidate { group, .. } | Signal::Forget { group, .. } if long(group) => Some("group"),
            Signal::Invalidate { views, .. } if views.len() > NAMES_MAX || views.iter().any(|name| long(name)) => {
                Some("list of views")
            }
            Signal::Forget { table: Some(table), .. } if long(table) => Some("table"),
            Signal::Resolve { parked, .. } if parked.len() > NAMES_MAX => Some("list of parked things"),
            Signal::Resolve { why, .. } if long(why) => Some("reason"),
            _ => None,
        }
    }

    /// From a row of Debezium's signal table (its documentation, "Sending signals to a Debezium connector"): `type` and
    /// `data`. `None`: a signal that we have nothing to do for.
    pub fn from_debezium(id: &str, kind: &str, data: Option<&str>) -> Option<Self> {
        #[derive(Deserialize)]
        struct Data {
            #[serde(rename = "data-collections", default)]
            tables: Vec<String>,
            /// Only some rows: that we don't do.
            #[serde(rename = "additional-conditions", default)]
            conditions: Vec<serde::de::IgnoredAny>,
            #[serde(rename = "additional-condition")]
            condition: Option<serde::de::IgnoredAny>,
        }
        let data = serde_json::from_str::<Data>(data.unwrap_or("{}")).ok()?;
        let is_of_all_rows = data.conditions.is_empty() && data.condition.is_none();
        let signal = match kind {
            // Names there are regular expressions; a quoted dot is the only thing that they need for one table.
            "execute-snapshot" if !data.tables.is_empty() && is_of_all_rows => {
                let tables = data.tables.iter().map(|table| table.replace("\\.", ".")).collect();
                Some(Signal::Snapshot { id: id.to_owned(), tables })
            }
            // Of some tables alone: that we don't do either.
            "stop-snapshot" if data.tables.is_empty() => Some(Signal::StopSnapshot { id: None }),
            _ => None,
        };
        signal.filter(|signal| signal.excess().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_fit_into_a_record_is_refused() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let names = || (0..=NAMES_MAX).map(|n| n.to_string());
        for signal in [
            Signal::Snapshot { id: long.clone(), tables: Vec::new() },
            Signal::Snapshot { id: "a".to_owned(), tables: names().collect() },
            Signal::Snapshot { id: "a".to_owned(), tables: vec![long.clone()] },
            Signal::StopSnapshot { id: Some(long.clone()) },
            Signal::Forget { group: long.clone(), table: None },
            Signal::Forget { group: "g".to_owned(), table: Some(long.clone()) },
            Signal::Invalidate { group: "g".to_owned(), subjects: Vec::new(), views: names().collect() },
            Signal::Resolve { parked: vec![1], outcome: Outcome::Dropped, why: long.clone() },
        ] {
            let read = Signal::from_json(signal.to_json().as_bytes());
            assert!(matches!(read, Err(SignalError::TooMuch(_))), "{read:?}");
        }
        assert_eq!(Signal::from_debezium(&long, "execute-snapshot", Some(r#"{"data-collections": ["a.b"]}"#)), None);
    }

    #[test]
    fn signals_come_back() {
        let snapshot = Signal::Snapshot { id: "a".to_owned(), tables: vec!["public.products".to_owned()] };
        for signal in [
            snapshot.clone(),
            Signal::StopSnapshot { id: None },
            Signal::Forget { group: "catalogue".to_owned(), table: None },
            Signal::Window { chunk: 7, edge: Edge::High },
            Signal::Invalidate {
                group: "catalogue".to_owned(),
                subjects: vec![Subject::entity("7")],
                views: BTreeSet::new(),
            },
            Signal::Resolve { parked: vec![7], outcome: Outcome::Dropped, why: "seen to".to_owned() },
            Signal::Heartbeat,
        ] {
            assert_eq!(Signal::from_json(signal.to_json().as_bytes()).expect("ours"), signal);
        }
        assert!(Signal::from_json(br#"{"kind":"snapshot","id":"a","tables":[],"more":1}"#).is_err());
        let data = r#"{"data-collections": ["public\\.products"], "type": "INCREMENTAL"}"#;
        assert_eq!(Signal::from_debezium("a", "execute-snapshot", Some(data)), Some(snapshot));
        assert_eq!(Signal::from_debezium("a", "log", Some("{}")), None);
        assert_eq!(Signal::from_debezium("a", "execute-snapshot", Some("not json")), None);
        let some_rows = r#"{"data-collections": ["public.products"], "additional-conditions": [{"filter": "a > 1"}]}"#;
        assert_eq!(Signal::from_debezium("a", "execute-snapshot", Some(some_rows)), None, "not all rows instead");
        assert_eq!(Signal::from_debezium("a", "stop-snapshot", Some(data)), None, "not all snapshots instead");
        assert_eq!(Signal::from_debezium("a", "stop-snapshot", None), Some(Signal::StopSnapshot { id: None }));
    }
}
