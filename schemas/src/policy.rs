//! The policy: what is cached, where, for how long, and how it changes (docs/policy.md).

mod across;
mod file;
mod groups;
mod hot_set;
#[cfg(test)]
mod mistakes;
mod rules;
mod schema;
mod view;
mod view_file;
mod warming;
mod when;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::change::Row;
use crate::shown::Shown;

pub use file::PolicyError;
pub use hot_set::HotSet;
pub use schema::SCHEMA;
pub use view::{Deferred, OnBehind, OnChange, Rows, Staleness, View, ViewSource};
pub use warming::Warming;
pub use when::{When, number};

/// The built-in policy: that of the demo's shop.
pub const DEFAULT: &str = include_str!("../../policy.toml");

/// A cache tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TierName {
    /// Redis: the whole catalogue.
    L2,
    /// Redis Cluster: hot products, profiles.
    L1,
    /// The CDN.
    L3,
}

impl TierName {
    /// From the inside out: the order in which a change reaches them.
    pub const INSIDE_OUT: [TierName; 3] = [TierName::L2, TierName::L1, TierName::L3];

    /// `l1`, `l2`, `l3`.
    pub fn as_str(self) -> &'static str {
        match self {
            TierName::L2 => "l2",
            TierName::L1 => "l1",
            TierName::L3 => "l3",
        }
    }
}

/// Tables that share an entity key.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// The column that names the entity in each of its tables.
    pub entity_key: Arc<str>,
    /// `schema.table`.
    pub tables: Vec<Arc<str>>,
    /// Whether the entity key is private in one of them.
    pub is_key_private: bool,
}

impl Group {
    /// The entity of a row.
    pub fn entity<'r>(&self, row: &'r Row) -> Option<&'r str> {
        row.text(&self.entity_key)
    }

    /// An entity, as people may see it.
    pub fn shown<'e>(&self, entity: &'e str) -> Shown<'e> {
        if self.is_key_private { Shown::private(entity) } else { Shown::public(entity) }
    }
}

/// What is said of a table's columns.
#[derive(Clone, Debug, Default)]
pub struct TableRules {
    /// Columns whose values are masked wherever people could see them.
    pub private: BTreeSet<Arc<str>>,
    /// Columns that are called like secrets, and may be published.
    pub allow_secret: BTreeSet<Arc<str>>,
}

/// A checked policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// By name.
    pub groups: BTreeMap<Arc<str>, Group>,
    /// By name.
    pub views: BTreeMap<Arc<str>, Arc<View>>,
    /// By table, where something is said of one.
    pub rules: BTreeMap<Arc<str>, TableRules>,
    /// What keeping the hot set may cost.
    pub warming: Warming,
}

impl Policy {
    /// Reads and checks a policy.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        file::parse(text)
    }

    /// Whether a column's values are for nobody to see.
    pub fn is_private(&self, table: &str, column: &str) -> bool {
        self.rules.get(table).is_some_and(|rules| rules.private.contains(column))
    }

    /// The closest bound that a view sets to how far a tier may be behind; `None`: no view sets one.
    pub fn closest_bound(&self) -> Option<Duration> {
        self.views.values().filter_map(|view| view.staleness).map(|staleness| staleness.bound).min()
    }

    /// Whether what stands under a name in an entry of a view is for nobody to see. A row's field holds several columns: one
    /// that is private masks it whole. A field of nobody's may hold anything: it is masked where any column of the view's
    /// tables is private. Our own begin with `_`.
    pub fn is_field_private(&self, view: &View, field: &str) -> bool {
        let is_known = view.has_field(field);
        let of_source = |source: &ViewSource| match &source.rows {
            _ if !is_known => self.rules.get(&source.table).is_some_and(|rules| !rules.private.is_empty()),
            Some(rows) => {
                let mut reads = source.columns.iter().chain([&rows.column]);
                rows.row_of(field).is_some() && reads.any(|column| self.is_private(&source.table, column))
            }
            None => self.is_private(&source.table, field),
        };
        !field.starts_with('_') && view.sources.iter().any(of_source)
    }

    /// Whether a column may be published though it is called like a secret.
    pub fn allows_secret(&self, table: &str, column: &str) -> bool {
        self.rules.get(table).is_some_and(|rules| rules.allow_secret.contains(column))
    }

    /// The group of a table.
    pub fn group_of(&self, table: &str) -> Option<&Group> {
        self.groups.values().find(|group| group.tables.iter().any(|name| &**name == table))
    }

    /// The views that follow a group.
    pub fn views_of<'p>(&'p self, group: &'p str) -> impl Iterator<Item = &'p Arc<View>> {
        self.views.values().filter(move |view| &*view.group == group)
    }

    /// The groups that some view follows: those that the engine consumes.
    pub fn followed_groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values().filter(|group| self.views_of(&group.name).next().is_some())
    }

    /// The tiers that a group's changes reach, from the inside out. L2 keeps L3's position, and so is among them wherever
    /// L3 is.
    pub fn tiers_of(&self, group: &str) -> Vec<TierName> {
        let on = |tier| self.views_of(group).any(|view| view.tier == tier);
        let reached = |tier: &TierName| on(*tier) || (*tier == TierName::L2 && on(TierName::L3));
        TierName::INSIDE_OUT.into_iter().filter(reached).collect()
    }

    /// Whether a field of a view may be older than its tier's position, since its changes wait for a pass: where the column
    /// is deferred in the view itself, or in another of the group, of which the copy may have been made.
    pub fn may_wait(&self, view: &View, field: &str) -> bool {
        let holds = |source: &&ViewSource| match &source.rows {
            Some(rows) => rows.row_of(field).is_some(),
            None => source.columns.iter().any(|column| **column == *field),
        };
        let Some(source) = view.sources.iter().find(holds) else { return false };
        let waits = |column: &Arc<str>| match source.rows {
            Some(_) => source.columns.contains(column),
            None => **column == *field,
        };
        let others = self.views_of(&view.group).filter_map(|other| other.source(&source.table));
        others.flat_map(ViewSource::deferred).any(waits)
    }

    /// A view by name, or its nearest neighbour as a suggestion.
    pub fn view(&self, name: &str) -> Result<&Arc<View>, Option<&str>> {
        let nearest = || lockstep_process::suggest::nearest(name, self.views.keys().map(|name| &**name));
        self.views.get(name).ok_or_else(nearest)
    }
}
