//! A view: what is cached under one key pattern.

use std::sync::Arc;
use std::time::Duration;

use super::{HotSet, TierName, When};
use crate::key::{KeyPattern, placeholder};

/// What is cached under one key pattern.
#[derive(Clone, Debug)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// The group whose changes it follows.
    pub group: Arc<str>,
    /// Where it lives.
    pub tier: TierName,
    /// For L1: the view on L2 through which it is filled.
    pub through: Option<Arc<str>>,
    /// How its keys are made.
    pub key: KeyPattern,
    /// For L3: how its tags are made.
    pub tag: Option<KeyPattern>,
    /// How long an entry lives.
    pub ttl: Duration,
    /// An entry that was filled longer ago counts as a miss, however often it was refreshed since.
    pub age_max: Option<Duration>,
    /// Whether a hit extends its life.
    pub sliding: bool,
    /// What an update does to an entry.
    pub on_change: OnChange,
    /// How long what was made of deferred columns may wait for its pass.
    pub deferred: Option<Duration>,
    /// How far its tier may be behind, and what readers get beyond that.
    pub staleness: Option<Staleness>,
    /// Entries exist only for the members of a hot set of this size.
    pub hot_set: Option<HotSet>,
    /// Whether `warm` fills it at the first start.
    pub warm: bool,
    /// The tables it is made of. The first one's row decides whether the entry exists.
    pub sources: Vec<ViewSource>,
}

/// What an update does to an entry. Inserts and deletes invalidate, whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// Its fields are written in place.
    Refresh,
    /// It goes, and the next reader fills it.
    Invalidate,
}

/// How far a tier may be behind for the readers of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// So long.
    pub bound: Duration,
    /// What readers get where it is behind by more.
    pub on_behind: OnBehind,
}

/// What readers get from a tier that is behind its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBehind {
    /// What the database says, past the tier.
    Bypass,
    /// What the tier says, and that it is stale.
    Stale,
}

impl OnBehind {
    /// `bypass`, `stale`.
    pub fn as_str(self) -> &'static str {
        match self {
            OnBehind::Bypass => "bypass",
            OnBehind::Stale => "stale",
        }
    }
}

/// Columns of one table that a view is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewSource {
    /// `schema.table`.
    pub table: Arc<str>,
    /// The columns that matter. Of a table with one row an entity, each is a field of the entry.
    pub columns: Arc<[Arc<str>]>,
    /// Of a table with many rows an entity: what the field of each row is called.
    pub rows: Option<Rows>,
    /// An update that fails this test does not concern the view.
    pub when: Option<When>,
    /// Columns whose changes wait for a pass.
    pub deferred: Option<Deferred>,
}

/// Columns of a source whose changes wait for a pass (docs/protocol.md, "Deferred columns").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// These.
    pub columns: Vec<Arc<str>>,
    /// Columns of which a change concerns the view at once: all others that it reads, but for the entity key, whose change
    /// makes another entity.
    pub prompt: Vec<Arc<str>>,
}

/// What a row's field is called: `line:{line_id}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    head: Arc<str>,
    tail: Arc<str>,
    /// The column that tells an entity's rows apart.
    pub column: Arc<str>,
}

impl Rows {
    /// Reads a pattern: a text, and one column in braces.
    pub fn parse(pattern: &str) -> Result<Rows, String> {
        let refuse = |why: &str| format!("rows `{pattern}`: {why}; write for instance `line:{{line_id}}`");
        let found = placeholder(pattern).map_err(|why| refuse(&why))?;
        let (head, column, tail) = found.ok_or_else(|| refuse("it names no column in braces"))?;
        if head.is_empty() || head.starts_with('_') {
            return Err(refuse("it begins with a text of its own, and not with `_`"));
        }
        if tail.contains(['{', '}']) {
            return Err(refuse("one column tells a row apart"));
        }
        Ok(Rows { head: head.into(), tail: tail.into(), column: column.into() })
    }

    /// The field of a row.
    pub fn field(&self, row: &str) -> Arc<str> {
        format!("{}{row}{}", self.head, self.tail).into()
    }

    /// The row that a field holds; `None` where it is another kind of field.
    pub fn row_of<'f>(&self, field: &'f str) -> Option<&'f str> {
        field.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)
    }

    /// What all of them are called together: what the pattern begins with.
    pub fn name(&self) -> &str {
        self.head.trim_end_matches([':', '.', '-', '_', '/'])
    }

    /// Whether some field could be of both.
    pub(super) fn overlaps(&self, other: &Rows) -> bool {
        self.head.starts_with(&*other.head) || other.head.starts_with(&*self.head)
    }
}

impl View {
    /// The same view, with the names of one version of its entries.
    pub fn at(&self, version: u32) -> View {
        View { key: self.key.at(version), ..self.clone() }
    }

    /// The source of a table.
    pub fn source(&self, table: &str) -> Option<&ViewSource> {
        self.sources.iter().find(|source| &*source.table == table)
    }

    /// Every field of an entry that is there but for nulls, in order: without those of many rows.
    pub fn fields(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.iter().filter(|source| source.rows.is_none()).flat_map(|source| &*source.columns)
    }

    /// Whether an entry may have such a field.
    pub fn has_field(&self, field: &str) -> bool {
        let rows = self.sources.iter().filter_map(|source| source.rows.as_ref());
        self.fields().any(|known| **known == *field) || rows.into_iter().any(|rows| rows.row_of(field).is_some())
    }
}

impl ViewSource {
    /// Every column that it reads, some of them twice.
    pub fn reads(&self) -> impl Iterator<Item = &Arc<str>> {
        let row = self.rows.as_ref().map(|rows| &rows.column);
        self.columns.iter().chain(row).chain(self.when.iter().flat_map(When::columns))
    }

    /// The columns whose changes wait for a pass.
    pub fn deferred(&self) -> &[Arc<str>] {
        self.deferred.as_ref().map_or(&[], |deferred| &deferred.columns)
    }

    /// The text of a row's field: a JSON object of its columns, in the policy's order, each value its canonical text. The
    /// same bytes from the log and from the database.
    pub fn row_text<'t>(&self, mut text: impl FnMut(usize, &str) -> Option<&'t str>) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut object = String::from("{");
        for (at, column) in self.columns.iter().enumerate() {
            let value = text(at, column).map_or_else(|| "null".to_owned(), quoted);
            let comma = if at == 0 { "" } else { "," };
            object.push_str(&format!("{comma}{}:{value}", quoted(column)));
        }
        object.push('}');
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_field() {
        let rows = Rows::parse("line:{line_id}").expect("a pattern");
        assert_eq!((&*rows.field("7"), rows.row_of("line:7"), rows.name()), ("line:7", Some("7"), "line"));
        assert_eq!(rows.row_of("updated_at"), None);
        for (bad, why) in [
            ("line", "no column"),
            ("{line_id}", "a text of its own"),
            ("_l:{x}", "not with `_`"),
            ("l:{a}:{b}", "one column"),
        ] {
            assert!(Rows::parse(bad).expect_err(bad).contains(why), "{bad}");
        }
        let source = ViewSource {
            table: "public.cart_lines".into(),
            columns: ["line_id", "note \"x\"", "gone"].map(Arc::from).into(),
            rows: Some(rows),
            when: None,
            deferred: None,
        };
        let texts = [Some("7"), Some("a \"b\"\n"), None];
        assert_eq!(source.row_text(|at, _| texts[at]), r#"{"line_id":"7","note \"x\"":"a \"b\"\n","gone":null}"#);
    }
}
