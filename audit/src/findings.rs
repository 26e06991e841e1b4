//! What was found: counts by tier and view, and the evidence of what is wrong. Private columns are masked.

use std::collections::BTreeMap;

use lockstep_schemas::invalidation;
use lockstep_schemas::policy::{Policy, View};
use lockstep_schemas::shown::Shown;
use serde::{Deserialize, Serialize};

use crate::judge::{Difference, Fields, Verdict};
use crate::subject::Subject;

/// Wrong copies of which the evidence is kept; all are counted.
const LISTED_MAX: usize = 1_000;

/// How many copies were what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Say what their rows say.
    pub same: u64,
    /// Differ, and may.
    pub in_flight: u64,
    /// Have another value in a field, or no end.
    pub stale: u64,
    /// Lack what the row has.
    pub missing: u64,
    /// Have what the row lacks, or are of no row.
    pub orphan: u64,
    /// Below the floor, which no reader takes.
    pub dead: u64,
    /// Not to be judged.
    pub unknown: u64,
}

impl Counts {
    /// Copies that are wrong.
    pub fn wrong(&self) -> u64 {
        self.stale + self.missing + self.orphan
    }

    /// Copies that were held against their rows.
    pub fn compared(&self) -> u64 {
        self.same + self.in_flight + self.wrong()
    }

    /// Counts a verdict. What has gone counts nowhere.
    pub fn add(&mut self, verdict: &Verdict) {
        use crate::judge::Wrong::{Missing, Orphan, Stale};
        match verdict {
            Verdict::Same => self.same += 1,
            Verdict::InFlight => self.in_flight += 1,
            Verdict::Dead => self.dead += 1,
            Verdict::Unknown(_) => self.unknown += 1,
            Verdict::Wrong(Stale, _) => self.stale += 1,
            Verdict::Wrong(Missing, _) => self.missing += 1,
            Verdict::Wrong(Orphan, _) => self.orphan += 1,
            Verdict::Gone => {}
        }
    }

    /// Adds other counts.
    pub fn add_all(&mut self, other: &Counts) {
        let Counts { same, in_flight, stale, missing, orphan, dead, unknown } = other;
        self.same += same;
        self.in_flight += in_flight;
        self.stale += stale;
        self.missing += missing;
        self.orphan += orphan;
        self.dead += dead;
        self.unknown += unknown;
    }
}

/// The evidence of one wrong copy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// `l2`, `l1`, `l3`.
    pub tier: String,
    /// The node that has it, or `edge`.
    pub node: String,
    /// Its view.
    pub view: String,
    /// Its key, as the policy has it; a private entity is masked.
    pub key: String,
    /// `stale`, `missing`, `orphan`.
    pub kind: String,
    /// What differs.
    pub fields: Vec<Field>,
    /// From which position on the copy should have been good.
    pub low: Option<String>,
    /// Nothing beyond is in it.
    pub high: Option<String>,
    /// How far the tier had come when the copy was read.
    pub watermark: Option<String>,
    /// At which position the row was read that the copy was held against.
    pub row_read_at: String,
    /// The entity as the log names it; for whoever asks what touched it last.
    #[serde(skip)]
    pub entity: Entity,
}

/// An entity that is not to be shown by accident, with the columns that its key tells.
#[derive(Clone)]
pub struct Entity(invalidation::Subject);

impl Default for Entity {
    /// Of a violation that was kept: whose it is was not.
    fn default() -> Self {
        Entity(invalidation::Subject::entity(""))
    }
}

impl Entity {
    /// As the log names it: not for people.
    pub fn as_str(&self) -> &str {
        &self.0.entity
    }

    /// As an invalidation names it.
    pub fn subject(&self) -> &invalidation::Subject {
        &self.0
    }
}

impl From<invalidation::Subject> for Entity {
    fn from(subject: invalidation::Subject) -> Self {
        Entity(subject)
    }
}

impl std::fmt::Debug for Entity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Shown::private(&self.0.entity))
    }
}

/// A field as copy and database have it; null is a field that is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// In the copy.
    pub copy: Option<String>,
    /// In the database.
    pub database: Option<String>,
}

impl Violation {
    /// What differs, in words.
    pub fn what(&self) -> String {
        let text = |text: &Option<String>| text.as_ref().map_or("nothing".to_owned(), |text| format!("`{text}`"));
        let field = |field: &Field| {
            format!("{} is {}, the database has {}", field.name, text(&field.copy), text(&field.database))
        };
        self.fields.iter().map(field).collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} on {}: {}: {}", self.tier, self.key, self.node, self.kind, self.what())?;
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        write!(f, " (low {}, tier at {}, row read at {})", known(&self.low), known(&self.watermark), self.row_read_at)
    }
}

/// All that an audit found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// By tier, whether on replicas, and view.
    pub counts: BTreeMap<(&'static str, bool, String), Counts>,
    /// Some of the wrong copies, as many as are listed.
    pub listed: Vec<Violation>,
    /// Copies that were asked for, whatever there was, each look counted.
    pub looked: u64,
    /// Why copies of a tier could not be judged, and how many.
    pub unknown: BTreeMap<(&'static str, &'static str), u64>,
    /// Entries that were seen to have gone backwards: tier and key.
    pub backwards: Vec<(&'static str, String)>,
    /// What could not be looked at, with the reason.
    pub failed: Vec<String>,
}

impl Findings {
    /// Copies that are wrong.
    pub fn wrong(&self) -> u64 {
        self.counts.values().map(Counts::wrong).sum()
    }

    /// The counts of a tier's primaries, over all views.
    pub fn of_tier(&self, tier: &str) -> Counts {
        let of = self.counts.iter().filter(|((name, is_replica, _), _)| *name == tier && !is_replica);
        of.fold(Counts::default(), |mut all, (_, counts)| {
            all.add_all(counts);
            all
        })
    }

    /// A tier of which there are copies, none of which could be judged, with the first reason.
    pub fn unjudged(&self) -> Option<(&'static str, &'static str)> {
        let is_unjudged = |tier: &str| {
            let mut of = self.counts.iter().filter(|((name, ..), _)| *name == tier);
            of.all(|(_, counts)| counts.compared() == 0)
        };
        self.unknown.keys().copied().find(|(tier, _)| is_unjudged(tier))
    }

    /// Counts a verdict.
    pub fn count(&mut self, tier: &'static str, is_replica: bool, view: &View, verdict: &Verdict) {
        self.counts.entry((tier, is_replica, view.name.to_string())).or_default().add(verdict);
        if let Verdict::Unknown(why) = verdict {
            *self.unknown.entry((tier, why)).or_default() += 1;
        }
    }

    /// Keeps the evidence, while there is little of it.
    pub fn list(&mut self, violation: Violation) {
        if self.listed.len() < LISTED_MAX {
            self.listed.push(violation);
        }
    }
}

/// The fields that differ, as people may see them.
pub(crate) fn shown(policy: &Policy, view: &View, differences: &[Difference]) -> Vec<Field> {
    let field = |one: &Difference| {
        let is_private = policy.is_field_private(view, &one.field);
        let text = |text: &String| {
            let shown = if is_private { Shown::private(text) } else { Shown::public(text) };
            shown.to_string()
        };
        // The name of a row's field holds a value of the row.
        let of_row =
            |name: &str| view.sources.iter().any(|s| s.rows.as_ref().is_some_and(|r| r.row_of(name).is_some()));
        let name =
            if is_private && of_row(&one.field) { Shown::private(&one.field).to_string() } else { one.field.clone() };
        Field { name, copy: one.copy.as_ref().map(text), database: one.row.as_ref().map(text) }
    };
    differences.iter().map(field).collect()
}

/// A key as people may see it.
pub(crate) fn shown_key(policy: &Policy, subject: &Subject, fields: Option<&Fields>) -> String {
    let pattern = &subject.view.key;
    let text = |column: &str| fields.and_then(|fields| fields.get(column)).map(String::as_str);
    let key =
        if pattern.is_plain() { Some(pattern.key(&subject.entity)) } else { pattern.key_of(&subject.entity, text) };
    let is_private = policy.groups[&subject.view.group].is_key_private;
    key.map_or_else(
        || if is_private { Shown::private(&subject.key).to_string() } else { subject.key.clone() },
        |key| key.to_string(),
    )
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::policy::DEFAULT;

    use super::*;

    #[test]
    fn a_private_value_is_told_as_a_mask() {
        let policy = Policy::parse(DEFAULT).expect("the default policy");
        let told = |view: &str, field: &str| {
            let one = Difference { field: field.to_owned(), copy: Some("Ada".to_owned()), row: None };
            shown(&policy, &policy.views[view], &[one]).remove(0).copy.expect("a text")
        };
        assert_eq!(told("product_all", "name"), "Ada");
        assert!(told("profile", "name").starts_with("private:"));
        assert!(told("profile", "email").starts_with("private:"), "a field that no view has");
        assert_eq!(told("profile", "created_at"), "Ada");
    }
}
