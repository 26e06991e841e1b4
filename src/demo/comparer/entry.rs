//! Whether one cached copy says what the row says. Pure.

use crate::demo::comparer::truth::{Fields, Subject};
use lockstep_schemas::policy::Policy;
use lockstep_schemas::shown::Shown;

/// Fields that begin so are Lockstep's own.
const OWN: char = '_';

/// What was found about one entry or page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Says what the row says.
    Equal,
    /// From below its partition's floor: no reader takes it.
    Dead,
    /// It went while we looked.
    Gone,
    /// Says something else; what, in words.
    Stale(String),
}

/// An entry as Redis has it.
#[derive(Debug, Default, Clone)]
pub struct Entry {
    /// Every field, ours included.
    pub fields: Fields,
    /// As PTTL tells it: -1 without an end, -2 where there is no such key.
    pub pttl_ms: i64,
}

impl Entry {
    /// From which position on it is good.
    pub fn low(&self) -> Option<&str> {
        self.fields.get("_low").map(String::as_str)
    }
}

/// The row that a key is a copy of. None: it is no copy of a row (a watermark, a lease, a session).
pub fn subject(key: &str) -> Option<Subject> {
    let name = if key.starts_with('{') { key.split_once("}:")?.1 } else { key };
    if name.ends_with(":_w") || name.ends_with(":_lease") {
        return None;
    }
    let product = name.strip_prefix("product:all:").or_else(|| name.strip_prefix("product:hot:"));
    let product = product.map(|id| Subject::Product(id.to_owned()));
    let user = || name.strip_prefix("user:").map(|id| Subject::User(id.to_owned()));
    product.or_else(user).or_else(|| name.strip_prefix("cart:").map(|id| Subject::Cart(id.to_owned())))
}

/// Which columns of a copy are for nobody to see.
#[derive(Clone, Copy)]
pub struct Secrecy<'a> {
    policy: &'a Policy,
    tables: &'static [&'static str],
}

impl<'a> Secrecy<'a> {
    /// As the policy has it for what the subject's rows are made of.
    pub fn of(policy: &'a Policy, subject: &Subject) -> Self {
        let tables: &[&str] = match subject {
            Subject::Product(_) => &["public.products", "public.prices", "public.inventory"],
            Subject::User(_) => &["public.users", "public.preferences"],
            Subject::Cart(_) => &["public.carts", "public.cart_lines"],
        };
        Secrecy { policy, tables }
    }

    /// A column's value, as a report may have it.
    pub fn shown<'t>(&self, column: &str, text: &'t str) -> Shown<'t> {
        let is_private = self.tables.iter().any(|table| self.policy.is_private(table, column));
        if is_private { Shown::private(text) } else { Shown::public(text) }
    }
}

/// The watermark hash that speaks for a key, where its name tells.
pub fn watermark(key: &str) -> Option<String> {
    let (tag, _) = key.strip_prefix('{')?.split_once("}:")?;
    Some(format!("{{{tag}}}:_w"))
}

/// Compares an entry with its row. Positions compare as text.
pub fn judge(entry: &Entry, floor: Option<&str>, row: Option<&Fields>, secrecy: Secrecy<'_>) -> Verdict {
    if entry.fields.is_empty() || entry.pttl_ms == -2 {
        return Verdict::Gone;
    }
    let Some(low) = entry.low() else {
        return Verdict::Stale("no _low: not written by an engine".to_owned());
    };
    if floor.is_some_and(|floor| low < floor) {
        return Verdict::Dead;
    }
    if entry.pttl_ms == -1 {
        return Verdict::Stale("no end of life".to_owned());
    }
    if entry.fields.contains_key("_neg") {
        return if row.is_some() {
            Verdict::Stale("says that there is no such row".to_owned())
        } else {
            Verdict::Equal
        };
    }
    let columns = entry.fields.iter().filter(|(name, _)| !name.starts_with(OWN));
    judge_columns(&columns.map(|(name, value)| (name.clone(), value.clone())).collect(), row, secrecy)
}

/// Compares the columns of a copy with those of its row.
pub fn judge_columns(columns: &Fields, row: Option<&Fields>, secrecy: Secrecy<'_>) -> Verdict {
    let Some(row) = row else {
        return Verdict::Stale("the row does not exist".to_owned());
    };
    let shown = |fields: &Fields, name: &str| match fields.get(name) {
        Some(value) => format!("`{}`", secrecy.shown(name, value)),
        None => "null".to_owned(),
    };
    let names = columns.keys().chain(row.keys().filter(|name| !columns.contains_key(*name)));
    let differing: Vec<String> = names
        .filter(|name| columns.get(*name) != row.get(*name))
        .map(|name| format!("{name} is {}, the database has {}", shown(columns, name), shown(row, name)))
        .collect();
    if differing.is_empty() { Verdict::Equal } else { Verdict::Stale(differing.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&str, &str)]) -> Fields {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn keys_name_their_rows() {
        let product = |id: &str| Some(Subject::Product(id.to_owned()));
        for (key, expected) in [
            ("product:all:22041", product("22041")),
            ("{catalogue.07ab}:product:hot:X-0001", product("X-0001")),
            ("{customers.01}:user:7", Some(Subject::User("7".to_owned()))),
            ("{catalogue.07ab}:_w", None),
            ("product:all:22041:_lease", None),
            ("{customers.01}:cart:7", Some(Subject::Cart("7".to_owned()))),
            ("{customers.01}:session:7", None),
        ] {
            assert_eq!(subject(key), expected, "{key}");
        }
        assert_eq!(watermark("{a.1}:user:7").as_deref(), Some("{a.1}:_w"));
        assert_eq!(watermark("product:all:1"), None);
    }

    #[test]
    fn an_entry_is_equal_dead_gone_or_stale() {
        let policy = Policy::parse(lockstep_schemas::policy::DEFAULT).expect("the default policy");
        let secrecy = Secrecy::of(&policy, &Subject::Product("1".to_owned()));
        let judge = |entry: &Entry, floor, row| super::judge(entry, floor, row, secrecy);
        let row = fields(&[("product_id", "1"), ("stock", "5")]);
        let entry = |of: &[(&str, &str)], pttl_ms| Entry { fields: fields(of), pttl_ms };
        let good = entry(&[("product_id", "1"), ("stock", "5"), ("_low", "0001"), ("_high", "0002")], 100);
        assert_eq!(judge(&good, Some("0001"), Some(&row)), Verdict::Equal);
        assert_eq!(judge(&good, Some("0002"), Some(&row)), Verdict::Dead);
        assert_eq!(judge(&entry(&[], -2), None, Some(&row)), Verdict::Gone);
        let absence = entry(&[("_neg", "1"), ("_low", "0001")], 100);
        assert_eq!(judge(&absence, None, None), Verdict::Equal);
        let stale = |entry: &Entry, row| matches!(judge(entry, None, row), Verdict::Stale(_));
        assert!(stale(&absence, Some(&row)), "an absence of what exists");
        assert!(stale(&good, None), "a copy of what does not exist");
        assert!(stale(&Entry { pttl_ms: -1, ..good.clone() }, Some(&row)), "without an end");
        assert!(stale(&entry(&[("product_id", "1"), ("_low", "0001")], 100), Some(&row)), "a field missing");
        let more = entry(&[("product_id", "1"), ("stock", "5"), ("name", "x"), ("_low", "0001")], 100);
        assert!(stale(&more, Some(&row)), "a field too many");
        let other = entry(&[("product_id", "1"), ("stock", "4"), ("_low", "0001")], 100);
        let words = "stock is `4`, the database has `5`";
        assert_eq!(judge(&other, None, Some(&row)), Verdict::Stale(words.to_owned()));
    }

    #[test]
    fn a_private_value_is_told_as_a_mask() {
        let policy = Policy::parse(lockstep_schemas::policy::DEFAULT).expect("the default policy");
        let of = |subject| Secrecy::of(&policy, &subject);
        let (copy, row) = (fields(&[("name", "Ada Amberly")]), fields(&[("name", "Ada Brookfen")]));
        let told = |secrecy| match judge_columns(&copy, Some(&row), secrecy) {
            Verdict::Stale(what) => what,
            other => panic!("{other:?}"),
        };
        let (user, product) = (of(Subject::User("1".to_owned())), of(Subject::Product("1".to_owned())));
        assert_eq!(told(product), "name is `Ada Amberly`, the database has `Ada Brookfen`");
        let what = told(user);
        assert!(!what.contains("Ada"), "{what}");
        let masks: Vec<&str> = what.split('`').skip(1).step_by(2).collect();
        assert!(masks.iter().all(|mask| mask.starts_with("private:")) && masks[0] != masks[1], "{what}");
    }
}
