//! Rows as readers meet them: which columns of an answer are whose, and which version a row's content bears.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use crate::compare::Fields;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Products,
    Prices,
    Inventory,
    Users,
}

/// One row by its table and the number in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(pub Table, pub usize);

/// What an answer shows of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Absent,
    State {
        version: u64,
        digest: u64,
    },
    /// Some of its columns, without the one that bears the version.
    Torn(String),
}

impl Table {
    pub const CATALOGUE: [Table; 3] = [Table::Products, Table::Prices, Table::Inventory];

    pub fn name(self) -> &'static str {
        match self {
            Table::Products => "products",
            Table::Prices => "prices",
            Table::Inventory => "inventory",
            Table::Users => "users",
        }
    }

    pub fn key(self) -> &'static str {
        if self == Table::Users { "user_id" } else { "product_id" }
    }

    /// The key of a row as SQL has it.
    pub fn literal(self, n: usize) -> String {
        if self == Table::Users { n.to_string() } else { format!("'P-{n}'") }
    }

    /// The columns that caches hold, as a JSON object.
    pub fn json(self) -> &'static str {
        match self {
            Table::Products => {
                "json_build_object('product_id', product_id, 'name', name, 'description', description, \
                 'category', category, 'active', active)"
            }
            Table::Prices => "json_build_object('price_pence', price_pence, 'currency', currency)",
            Table::Inventory => "json_build_object('stock', stock)",
            Table::Users => {
                "json_build_object('user_id', user_id, 'name', name, 'created_at', \
                 to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
            }
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Table::Products => &["product_id", "name", "description", "category", "active"],
            Table::Prices => &["price_pence", "currency"],
            Table::Inventory => &["stock"],
            Table::Users => &["user_id", "name", "created_at"],
        }
    }

    /// The version that its writers put into the content.
    fn version_of(self, row: &Fields) -> Option<u64> {
        let text = match self {
            Table::Products | Table::Users => row.get("name")?.strip_prefix('v')?,
            Table::Prices => row.get("price_pence")?,
            Table::Inventory => row.get("stock")?,
        };
        text.parse().ok()
    }

    /// This table's part of an answer.
    pub fn seen_in(self, answer: &Fields) -> Seen {
        let columns = answer.iter().filter(|(name, _)| self.columns().contains(&name.as_str()));
        let row: Fields = columns.map(|(name, text)| (name.clone(), text.clone())).collect();
        match self.version_of(&row) {
            Some(version) => Seen::State { version, digest: digest(&row) },
            None if row.is_empty() => Seen::Absent,
            None => Seen::Torn(format!("{:?}", row.keys())),
        }
    }
}

/// What an answer about a product shows; of a product that is absent nothing is said about its price.
pub fn product_rows(n: usize, answer: Option<&Fields>) -> Vec<(Row, Seen)> {
    match answer {
        None => vec![(Row(Table::Products, n), Seen::Absent)],
        // A product without its name is no absent one: the entry is there.
        Some(fields) if !fields.contains_key("product_id") => {
            vec![(Row(Table::Products, n), Seen::Torn(format!("{:?}", fields.keys())))]
        }
        Some(fields) => Table::CATALOGUE.map(|table| (Row(table, n), table.seen_in(fields))).to_vec(),
    }
}

pub fn user_rows(n: usize, answer: Option<&Fields>) -> Vec<(Row, Seen)> {
    let seen = match answer.map(|fields| Table::Users.seen_in(fields)) {
        None => Seen::Absent,
        Some(Seen::Absent) => Seen::Torn("nothing".to_owned()),
        Some(seen) => seen,
    };
    vec![(Row(Table::Users, n), seen)]
}

fn digest(row: &Fields) -> u64 {
    let mut hasher = DefaultHasher::new();
    row.hash(&mut hasher);
    hasher.finish()
}
