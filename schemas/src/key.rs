//! Key patterns: `product:all:{product_id}`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::change::{Text, TextBuilder};
use crate::invalidation::Subject;
use crate::shown::Shown;

/// What the lease marker of an entry is called, behind the entry's own name. No entity may end like this.
pub const MARKER_SUFFIX: &str = ":_lease";
/// What stands around the number of a version, before the name of an entry that is of another than the first.
const VERSION_MARK: char = '~';

/// A name of an entry in a tier, without the tier's layout around it. Where the entity key is private, it is shown with a
/// mask in the entity's place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    text: Text,
    /// Where a private entity stands in `text`.
    private: Option<(usize, usize)>,
}

impl Key {
    /// Its text: for the tiers, not for people.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((from, to)) = self.private else { return f.write_str(&self.text) };
        write!(f, "{}{}{}", &self.text[..from], Shown::private(&self.text[from..to]), &self.text[to..])
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A pattern with the group's entity key in braces, and perhaps other columns of the same row before it:
/// `product:all:{product_id}`, `product:{category}:{product_id}`.
///
/// The entity comes last of them, and what stands between two placeholders has a `:`. Values of the other columns have
/// theirs escaped, so two entities never share a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// Other columns, each with the text before it.
    others: Vec<(String, Arc<str>)>,
    head: String,
    tail: String,
    text: String,
    is_private: bool,
    /// Names are of this version of the view's entries; `None`: of whichever is asked for, the first by default.
    version: Option<u32>,
}

impl KeyPattern {
    /// Reads a pattern; it must name the entity key, once.
    pub fn parse(pattern: &str, entity_key: &str) -> Result<Self, KeyPatternError> {
        let refuse = |why: String| KeyPatternError { pattern: pattern.to_owned(), why };
        let (mut others, mut rest) = (Vec::new(), pattern);
        let (head, tail) = loop {
            let (before, name, after) = placeholder(rest).map_err(refuse)?.ok_or_else(|| {
                refuse(format!("it must contain {{{entity_key}}}, which decides the partition in which an entry lies"))
            })?;
            if !others.is_empty() && !before.contains(':') {
                return Err(refuse(format!("a `:` must stand before {{{name}}}, or two rows could have one key")));
            }
            rest = after;
            if name == entity_key {
                break (before.to_owned(), after.to_owned());
            }
            others.push((before.to_owned(), Arc::from(name)));
        };
        if let Some((_, name, _)) = placeholder(&tail).map_err(refuse)? {
            return Err(refuse(if name == entity_key {
                format!("{{{entity_key}}} may stand in it once")
            } else {
                format!("{{{entity_key}}} must be the last of its columns, so {{{name}}} stands before it")
            }));
        }
        let is_blank = |c: char| c.is_control() || c.is_whitespace();
        let texts = others.iter().map(|(before, _)| before).chain([&head, &tail]);
        if pattern.starts_with(['_', VERSION_MARK]) || texts.into_iter().any(|text| text.contains(is_blank)) {
            return Err(refuse("no leading `_` or `~`, no white space".to_owned()));
        }
        if pattern.starts_with('{') && !others.is_empty() {
            return Err(refuse("it must begin with a text of its own".to_owned()));
        }
        Ok(KeyPattern { others, head, tail, text: pattern.to_owned(), is_private: false, version: None })
    }

    /// The same pattern, of an entity key that is private or is not.
    pub(crate) fn private(self, is_private: bool) -> Self {
        KeyPattern { is_private, ..self }
    }

    /// The same pattern, of one version of the view's entries and no other.
    pub fn at(&self, version: u32) -> Self {
        KeyPattern { version: Some(version), ..self.clone() }
    }

    /// The version that its keys are of, where it is of one.
    pub fn version(&self) -> Option<u32> {
        self.version
    }

    /// Columns besides the entity key.
    pub fn others(&self) -> impl Iterator<Item = &Arc<str>> {
        self.others.iter().map(|(_, column)| column)
    }

    /// As it stands in the policy.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the entity alone makes the key.
    pub fn is_plain(&self) -> bool {
        self.others.is_empty()
    }

    /// The key of one entity.
    pub fn key(&self, entity: &str) -> Key {
        self.key_in(self.version.unwrap_or_default(), entity)
    }

    /// The key of one entity in a version of the view's entries.
    pub fn key_in(&self, version: u32, entity: &str) -> Key {
        assert!(self.is_plain(), "a key of other columns is made from a row");
        self.join(version, "", entity)
    }

    /// The entity of a key; `None` where it is a key of another pattern, or of more than the entity.
    pub fn entity_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let entity = self.unversioned(key)?.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        (self.is_plain() && !entity.is_empty()).then_some(entity)
    }

    /// Whose key it is, with the other columns that it tells; `None` where it is a key of another pattern. The inverse of
    /// [`KeyPattern::key_of`].
    pub fn subject_of(&self, key: &str) -> Option<Subject> {
        let (mut columns, mut rest) = (BTreeMap::new(), self.unversioned(key)?);
        for (at, (before, column)) in self.others.iter().enumerate() {
            let value = rest.strip_prefix(&**before)?;
            // A value has no `:`, and what follows it does.
            let next = self.others.get(at + 1).map_or(&self.head, |(next, _)| next);
            let end = value.find(&**next)?;
            let text = value[..end].replace("%3A", ":").replace("%25", "%");
            columns.insert(column.to_string(), text);
            rest = &value[end..];
        }
        let entity = rest.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        (!entity.is_empty()).then(|| Subject { entity: entity.to_owned(), columns })
    }

    /// The key of one row, from the texts of its other columns. `None`: one of them is null, and such a row has no entry.
    pub fn key_of<'t>(&self, entity: &str, text: impl Fn(&str) -> Option<&'t str>) -> Option<Key> {
        let mut start = String::new();
        for (before, column) in &self.others {
            start.push_str(before);
            start.push_str(&text(column)?.replace('%', "%25").replace(':', "%3A"));
        }
        Some(self.join(self.version.unwrap_or_default(), &start, entity))
    }

    fn join(&self, version: u32, start: &str, entity: &str) -> Key {
        let mut text = TextBuilder::new();
        text.push_str(&version_head(version));
        text.push_str(start);
        text.push_str(&self.head);
        let from = text.len();
        text.push_str(entity);
        text.push_str(&self.tail);
        Key { text: text.finish(), private: self.is_private.then(|| (from, from + entity.len())) }
    }

    /// A key without what tells its version; `None`: it is of another than the pattern.
    fn unversioned<'k>(&self, key: &'k str) -> Option<&'k str> {
        match self.version {
            Some(version) => key.strip_prefix(&*version_head(version)),
            None => match key.strip_prefix(VERSION_MARK) {
                None => Some(key),
                Some(rest) => {
                    let (version, name) = rest.split_once(VERSION_MARK)?;
                    version.parse::<u32>().is_ok().then_some(name)
                }
            },
        }
    }

    /// Whether some key could be of both patterns: then two entities would share an entry.
    pub fn overlaps(&self, other: &KeyPattern) -> bool {
        let (one, another) = (self.start(), other.start());
        let heads = one.starts_with(another) || another.starts_with(one);
        let tails = self.tail.ends_with(&other.tail) || other.tail.ends_with(&self.tail);
        heads && tails
    }

    /// What each of its keys begins with.
    fn start(&self) -> &str {
        self.others.first().map_or(&self.head, |(before, _)| before)
    }
}

/// What stands before the names of a version. Short, so that it is made in place.
fn version_head(version: u32) -> Text {
    let mut text = TextBuilder::new();
    if version > 0 {
        text.push(VERSION_MARK);
        text.push_str(itoa::Buffer::new().format(version));
        text.push(VERSION_MARK);
    }
    text.finish()
}

/// The text before the first placeholder, its name, and the rest.
pub(crate) fn placeholder(text: &str) -> Result<Option<(&str, &str, &str)>, String> {
    let Some((before, rest)) = text.split_once('{') else {
        return if text.contains('}') { Err("a `}` without `{`".to_owned()) } else { Ok(None) };
    };
    let (name, after) = rest.split_once('}').ok_or_else(|| "a `{` without `}`".to_owned())?;
    if before.contains('}') || name.contains('{') || name.is_empty() {
        return Err("braces hold a column's name".to_owned());
    }
    Ok(Some((before, name, after)))
}

/// A key pattern that can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("key pattern `{pattern}`: {why}")]
pub struct KeyPatternError {
    pattern: String,
    why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_names_of_their_own() {
        let pattern = KeyPattern::parse("product:all:{product_id}", "product_id").expect("a good pattern");
        let (first, third) = (pattern.at(0), pattern.at(3));
        assert_eq!((first.key("7").as_str(), third.key("7").as_str()), ("product:all:7", "~3~product:all:7"));
        assert_eq!((pattern.key_in(3, "7"), pattern.key("7")), (third.key("7"), first.key("7")));
        for (pattern, key, expected) in [
            (&pattern, "product:all:7", Some("7")),
            (&pattern, "~3~product:all:7", Some("7")),
            (&pattern, "~x~product:all:7", None),
            (&pattern, "~3product:all:7", None),
            (&first, "~3~product:all:7", None),
            (&third, "~3~product:all:7", Some("7")),
            (&third, "product:all:7", None),
        ] {
            let subject = pattern.subject_of(key).map(|subject| subject.entity);
            assert_eq!((pattern.entity_of(key), subject.as_deref()), (expected, expected), "{key}");
        }
        assert!(KeyPattern::parse("~3~product:{product_id}", "product_id").is_err());
    }

    #[test]
    fn patterns() {
        let pattern = KeyPattern::parse("product:hot:{product_id}", "product_id").expect("a good pattern");
        assert_eq!(pattern.key("85123A").as_str(), "product:hot:85123A");
        assert_eq!(pattern.entity_of("product:hot:85123A"), Some("85123A"));
        assert_eq!((pattern.entity_of("product:all:85123A"), pattern.entity_of("product:hot:")), (None, None));
        let other = |text| KeyPattern::parse(text, "product_id").expect("a good pattern");
        assert!(
            pattern.overlaps(&other("product:{product_id}")) && !pattern.overlaps(&other("product:all:{product_id}"))
        );
        for (bad, why) in [
            ("product", "must contain {product_id}"),
            ("product:{sku}", "must contain {product_id}"),
            ("{product_id}{product_id}", "may stand in it once"),
            ("p:{product_id}:{category}", "must be the last"),
            ("p:{category}{product_id}", "a `:` must stand before {product_id}"),
            ("{category}:{product_id}", "a text of its own"),
            ("a b{product_id}", "no white space"),
            ("p:{product_id", "a `{` without `}`"),
            ("p:}{product_id}", "braces hold a column's name"),
            ("_{product_id}", "no leading `_`"),
        ] {
            let refused = KeyPattern::parse(bad, "product_id").expect_err(bad).to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn other_columns_come_from_the_row() {
        let pattern = KeyPattern::parse("shelf:{category}:{product_id}:v1", "product_id").expect("a good pattern");
        assert_eq!(pattern.others().map(|column| &**column).collect::<Vec<_>>(), ["category"]);
        let key = |category| pattern.key_of("a:7", |_| category).map(|key| key.as_str().to_owned());
        assert_eq!(key(Some("bowls")).as_deref(), Some("shelf:bowls:a:7:v1"));
        assert_eq!(key(Some("b:a")).as_deref(), Some("shelf:b%3Aa:a:7:v1"), "no other row has this key");
        assert_eq!(key(None), None);
        for category in ["bowls", "b:a", "50%", "%3A", ""] {
            let made = key(Some(category)).expect("a key");
            let subject = pattern.subject_of(&made).expect("one of the pattern");
            assert_eq!((&*subject.entity, &*subject.columns["category"]), ("a:7", category), "{made}");
        }
        assert_eq!(pattern.subject_of("shelf:bowls:v1"), None);
        let other = |text| KeyPattern::parse(text, "product_id").expect("a good pattern");
        assert!(pattern.overlaps(&other("shelf:{product_id}")) && !pattern.overlaps(&other("all:{product_id}")));
    }

    #[test]
    fn a_private_entity_is_masked_where_its_key_is_shown() {
        let pattern = KeyPattern::parse("user:{email}:v1", "email").expect("a good pattern");
        assert_eq!(pattern.key("a@b").to_string(), "user:a@b:v1");
        let key = pattern.private(true).key("a@b");
        assert_eq!(key.as_str(), "user:a@b:v1");
        for shown in [key.to_string(), format!("{key:?}")] {
            assert!(shown.starts_with("user:private:") && shown.ends_with(":v1") && !shown.contains("a@b"), "{shown}");
        }
    }
}
