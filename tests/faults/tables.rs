//! The shop's tables, all of one form: an entity, a part of it, and a number that no two changes share.

use std::collections::BTreeMap;
use std::fmt;

pub const GROUPS: [&str; 2] = ["goods", "people"];

/// Tables that are published, each with the column of its entity key and its group.
pub const TABLES: [Table; 3] = [Table("items", "item", 0), Table("shelves", "item", 0), Table("notes", "person", 1)];

pub const TABLES_SQL: &str = "\
    CREATE TABLE items (item bigint, part bigint, n bigint NOT NULL, PRIMARY KEY (item, part)); \
    CREATE TABLE shelves (item bigint, part bigint, n bigint NOT NULL, PRIMARY KEY (item, part)); \
    CREATE TABLE notes (person bigint, part bigint, n bigint NOT NULL, PRIMARY KEY (person, part))";

pub const POLICY: &str = r#"
[groups.goods]
entity_key = "item"
tables = ["public.items", "public.shelves"]

[groups.people]
entity_key = "person"
tables = ["public.notes"]
"#;

/// Name, column of the entity, index of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(pub &'static str, pub &'static str, pub usize);

impl Table {
    /// By `public.name`.
    pub fn named(full_name: &str) -> Option<Table> {
        let name = full_name.strip_prefix("public.")?;
        TABLES.into_iter().find(|table| table.0 == name)
    }
}

/// A row's place: table, entity, part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey(pub Table, pub i64, pub i64);

/// One row's change as the writer means it, and as the log must have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowChange {
    Insert(RowKey, i64),
    Update(RowKey, i64),
    Delete(RowKey),
}

/// All rows of all tables.
pub type Contents = BTreeMap<RowKey, i64>;

impl RowChange {
    pub fn key(&self) -> RowKey {
        match *self {
            RowChange::Insert(key, _) | RowChange::Update(key, _) | RowChange::Delete(key) => key,
        }
    }

    pub fn apply(&self, contents: &mut Contents) {
        match *self {
            RowChange::Insert(key, n) | RowChange::Update(key, n) => contents.insert(key, n),
            RowChange::Delete(key) => contents.remove(&key),
        };
    }
}

/// A transaction as the writer committed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id, low 32 bits, as the log has it.
    pub xid: u32,
    /// It ends after this LSN.
    pub after: u64,
    /// In the order of its statements: ordinals from 1.
    pub changes: Vec<RowChange>,
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}, {})", self.0.0, self.1, self.2)
    }
}
