//! What a shop says of the cache that it has: which keys, and which field is which column.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_process::Failure;
use lockstep_process::config::{RedisServers, Url};
use lockstep_process::suggest;
use serde::Deserialize;

const SETTLE_MS_DEFAULT: u64 = 2_000;
const SCHEMES: [&str; 2] = ["redis", "rediss"];

/// The file's form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    redis: OneOrMany,
    settle_ms: Option<u64>,
    keys: Vec<KeysFile>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    pattern: String,
    r#type: Kind,
    key: String,
    fields: BTreeMap<String, String>,
    ttl_s: Option<u64>,
    changed_at: Option<String>,
    #[serde(default)]
    private: bool,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A hash, one field a column.
    Hash,
    /// A string that holds a JSON object.
    Json,
}

/// All that is to be looked at.
#[derive(Debug)]
pub struct Plan {
    pub(crate) redis: RedisServers,
    pub(crate) settle: Duration,
    pub(crate) keys: Vec<Keys>,
}

/// The keys of one pattern.
#[derive(Debug)]
pub(crate) struct Keys {
    /// As it is written: `product:{id}`.
    pub pattern: String,
    pub head: String,
    pub tail: String,
    pub kind: Kind,
    /// The column that the placeholder stands for, in each table.
    pub key: String,
    /// By table, the fields and their columns. The first table's row decides whether there is one.
    pub tables: Vec<(String, Vec<(String, String)>)>,
    /// With how much life an entry begins.
    pub ttl: Option<Duration>,
    /// The column that tells when a row was last changed, `schema.table.column`.
    pub changed_at: Option<(String, String)>,
    /// Keys are shown as masks.
    pub is_private: bool,
}

impl Plan {
    /// Reads and checks the file's text.
    pub fn parse(text: &str) -> Result<Plan, Failure> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            Failure::configuration(format!("{line}{}", suggest::explain(error.message())))
        })?;
        if file.keys.is_empty() {
            return Err(Failure::configuration("no [[keys]]").remedy("name a key pattern and its fields"));
        }
        let url = |text: &String| Url::parse("redis", text, &SCHEMES);
        let redis = match &file.redis {
            OneOrMany::One(text) => RedisServers::Node(url(text)?),
            OneOrMany::Many(texts) => RedisServers::Cluster(texts.iter().map(url).collect::<Result<_, _>>()?),
        };
        let settle = Duration::from_millis(file.settle_ms.unwrap_or(SETTLE_MS_DEFAULT));
        let keys = file.keys.into_iter().map(Keys::of).collect::<Result<_, _>>()?;
        Ok(Plan { redis, settle, keys })
    }
}

impl Keys {
    fn of(file: KeysFile) -> Result<Keys, Failure> {
        let refuse = |why: String| Failure::configuration(format!("keys `{}`: {why}", file.pattern));
        let parts = file.pattern.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?.1)));
        let Some((head, tail)) = parts.filter(|(head, tail)| !head.is_empty() && !tail.contains(['{', '}'])) else {
            return Err(refuse("a text of its own, then one placeholder in braces, e.g. product:{id}".to_owned()));
        };
        let mut tables: Vec<(String, Vec<(String, String)>)> = Vec::new();
        // The table of the key's own row stands first where it is named with `key`.
        let (first, key) = file.key.rsplit_once('.').ok_or_else(|| refuse(column(&file.key)))?;
        tables.push((first.to_owned(), Vec::new()));
        for (field, name) in &file.fields {
            let (table, of) = name.rsplit_once('.').ok_or_else(|| refuse(column(name)))?;
            let place = tables.iter().position(|(known, _)| known == table).unwrap_or_else(|| {
                tables.push((table.to_owned(), Vec::new()));
                tables.len() - 1
            });
            tables[place].1.push((field.clone(), of.to_owned()));
        }
        let changed_at = match &file.changed_at {
            None => None,
            Some(name) => {
                let (table, of) = name.rsplit_once('.').ok_or_else(|| refuse(column(name)))?;
                Some((table.to_owned(), of.to_owned()))
            }
        };
        let known: BTreeSet<&String> = tables.iter().map(|(table, _)| table).collect();
        if let Some((table, _)) = &changed_at
            && !known.contains(table)
        {
            return Err(refuse(format!("changed_at is of {table}, of which no field is")));
        }
        Ok(Keys {
            head: head.to_owned(),
            tail: tail.to_owned(),
            kind: file.r#type,
            key: key.to_owned(),
            tables,
            ttl: file.ttl_s.map(Duration::from_secs),
            changed_at,
            is_private: file.private,
            pattern: file.pattern,
        })
    }

    /// What the placeholder stands for in a key; `None` where it is a key of another pattern.
    pub fn entity<'k>(&self, key: &'k str) -> Option<&'k str> {
        let entity = key.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        (!entity.is_empty()).then_some(entity)
    }
}

fn column(name: &str) -> String {
    format!("`{name}` is no column; write schema.table.column")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
redis = "redis://cache:6379/"
[[keys]]
pattern = "product:{id}"
type = "json"
key = "public.products.product_id"
ttl_s = 3600
changed_at = "public.products.updated_at"
fields = { title = "public.products.name", price = "public.prices.price_pence" }
"#;

    #[test]
    fn fields_are_columns_of_some_tables() {
        let plan = Plan::parse(FILE).expect("a plan");
        let keys = &plan.keys[0];
        assert_eq!((keys.entity("product:7"), keys.entity("user:7"), keys.entity("product:")), (Some("7"), None, None));
        let tables: Vec<(&str, usize)> = keys.tables.iter().map(|(table, of)| (&**table, of.len())).collect();
        assert_eq!(tables, [("public.products", 1), ("public.prices", 1)]);
    }

    #[test]
    fn a_mistake_is_told() {
        let refused = |from: &str, to: &str| Plan::parse(&FILE.replace(from, to)).expect_err(from).to_string();
        assert!(refused("product:{id}", "product").contains("one placeholder in braces"));
        assert!(refused("public.prices.price_pence", "price").contains("write schema.table.column"));
        assert!(refused("ttl_s", "tll_s").contains("line 7: unknown field `tll_s`"), "{}", refused("ttl_s", "tll_s"));
        assert!(refused("redis://", "http://").contains("not a URL"));
    }
}
