//! What `why` tells, for people and for scripts. Private values are masked.

use std::collections::{BTreeMap, HashMap};

use lockstep_audit::touched::Last;
use lockstep_schemas::entry::Loaded;
use lockstep_schemas::key::Key;
use lockstep_schemas::policy::{Group, Policy, View};
use lockstep_schemas::shown::Shown;
use lockstep_tiers::{Place, Watermark};
use serde::Serialize;

/// All that is known of an entity's entries.
#[derive(Serialize)]
pub(super) struct Report {
    group: String,
    entity: String,
    partition: u32,
    tiers: Vec<OfTier>,
    last: Option<LastChange>,
    records_looked_at: i64,
}

/// One view's entry in its tier.
#[derive(Serialize)]
pub(super) struct OfTier {
    view: String,
    tier: &'static str,
    key: String,
    /// `equal`, `differs`, `absent`, `dead` (below the floor).
    state: &'static str,
    low: Option<String>,
    high: Option<String>,
    position: Option<String>,
    at: Option<i64>,
    l3: Option<String>,
    /// Of a page: whether the edge had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
    fields: BTreeMap<String, OfField>,
}

/// A field as the entry and as the database has it; null is a field that is not there.
#[derive(Serialize)]
struct OfField {
    entry: Option<String>,
    database: Option<String>,
    differs: bool,
    /// Whether it differs, and may until the next pass.
    waits: bool,
}

fn state_of<'f>(mut fields: impl Iterator<Item = &'f OfField>) -> &'static str {
    if fields.any(|field| field.differs && !field.waits) { "differs" } else { "equal" }
}

/// A page as the edge answered it.
pub(super) struct Page {
    pub position: Option<String>,
    pub at: Option<i64>,
    pub is_kept: bool,
    /// Of each column: the page's text, the database's, and whether they differ.
    pub fields: Vec<(String, Option<String>, Option<String>, bool)>,
}

#[derive(Serialize)]
struct LastChange {
    op: &'static str,
    table: String,
    position: String,
    committed_at: i64,
    offset: i64,
}

impl OfTier {
    pub fn new(
        policy: &Policy,
        view: &View,
        key: &Key,
        mark: Option<&Watermark>,
        entry: &HashMap<String, String>,
        row: Option<Loaded>,
    ) -> Self {
        let low = entry.get("_low").cloned();
        let is_dead = low.as_ref().zip(mark).is_some_and(|(low, mark)| *low < mark.floor.to_string());
        let row: BTreeMap<String, String> = row
            .and_then(|loaded| loaded.fields)
            .unwrap_or_default()
            .into_iter()
            .map(|(n, t)| (n.to_string(), t))
            .collect();
        let mut names: Vec<&String> = entry.keys().filter(|name| !name.starts_with('_')).chain(row.keys()).collect();
        names.sort();
        names.dedup();
        let mut fields = BTreeMap::new();
        for name in names {
            let (copy, now) = (entry.get(name), row.get(name));
            let shown = |text: &String| shown(policy, view, name, text);
            let (differs, waits) = (copy != now, policy.may_wait(view, name));
            let of = OfField { entry: copy.map(shown), database: now.map(shown), differs, waits: differs && waits };
            fields.insert(name.clone(), of);
        }
        let state = match &low {
            None => "absent",
            Some(_) if is_dead => "dead",
            Some(_) => state_of(fields.values()),
        };
        OfTier {
            view: view.name.to_string(),
            tier: view.tier.as_str(),
            key: key.to_string(),
            state,
            high: entry.get("_high").cloned(),
            low,
            position: mark.map(|mark| mark.position.to_string()),
            at: mark.map(|mark| mark.at),
            l3: mark.and_then(|mark| mark.l3).map(|(position, _)| position.to_string()),
            kept: None,
            fields,
        }
    }

    pub fn of_page(policy: &Policy, view: &View, key: &Key, page: Page) -> Self {
        let fields = page.fields.into_iter().map(|(name, entry, database, differs)| {
            let (shown, waits) = (|text: String| shown(policy, view, &name, &text), policy.may_wait(view, &name));
            let of =
                OfField { entry: entry.map(shown), database: database.map(shown), differs, waits: differs && waits };
            (name, of)
        });
        let fields: BTreeMap<String, OfField> = fields.collect();
        let state = state_of(fields.values());
        OfTier {
            view: view.name.to_string(),
            tier: view.tier.as_str(),
            key: key.to_string(),
            state,
            low: None,
            high: None,
            position: page.position,
            at: page.at,
            l3: None,
            kept: Some(page.is_kept),
            fields,
        }
    }

    pub fn differs(&self) -> bool {
        self.state == "differs"
    }
}

fn shown(policy: &Policy, view: &View, field: &str, text: &str) -> String {
    if policy.is_field_private(view, field) {
        Shown::private(text).to_string()
    } else {
        Shown::public(text).to_string()
    }
}

impl Report {
    pub fn new(group: &Group, place: &Place, entity: &str, tiers: Vec<OfTier>, last: Last) -> Self {
        let change = last.change.map(|(offset, change)| LastChange {
            op: change.op.letter(),
            table: change.table.to_string(),
            position: change.position.to_string(),
            committed_at: change.committed_at,
            offset,
        });
        Report {
            group: group.name.to_string(),
            entity: group.shown(entity).to_string(),
            partition: place.partition,
            tiers,
            last: change,
            records_looked_at: last.looked,
        }
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} {}, partition {}", self.group, self.entity, self.partition)];
        for of in &self.tiers {
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            lines.push(format!("{} {}: {}", of.tier, of.key, of.state));
            lines.push(match of.kept {
                Some(true) => format!("  kept by the edge, made at {}", text(&of.position)),
                Some(false) => format!("  the edge asked the gateway, made at {}", text(&of.position)),
                None => format!("  low {} high {} tier at {}", text(&of.low), text(&of.high), text(&of.position)),
            });
            if of.l3.is_some() {
                lines.push(format!("  the edge is purged up to {}", text(&of.l3)));
            }
            for (name, field) in &of.fields {
                let (entry, now) = (text(&field.entry), text(&field.database));
                lines.push(match (of.low.is_some() || of.kept.is_some(), field.differs) {
                    (true, true) if field.waits => {
                        format!("  {name}: {entry}, the database has {now}: that waits for a pass")
                    }
                    (true, true) => format!("  {name}: {entry}, the database has {now}"),
                    _ => format!("  {name}: {now}"),
                });
            }
        }
        lines.push(match &self.last {
            Some(last) => {
                format!("last touched by {} {} at {}, offset {}", last.op, last.table, last.position, last.offset)
            }
            None => format!("not touched by the newest {} records of its partition", self.records_looked_at),
        });
        lines
    }
}
