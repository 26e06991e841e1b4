//! Key patterns: `product:all:{product_id}`.

use std::fmt;

use crate::shown::Shown;

/// What the lease marker of an entry is called, behind the entry's own name. No entity may end like this.
pub const MARKER_SUFFIX: &str = ":_lease";

/// A name of an entry in a tier, without the tier's layout around it. Where the entity key is private, it is shown with a
/// mask in the entity's place.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    text: String,
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

/// A pattern with one placeholder, the group's entity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    head: String,
    tail: String,
    is_private: bool,
}

impl KeyPattern {
    /// Reads a pattern; it must name the entity key, once.
    pub fn parse(pattern: &str, entity_key: &str) -> Result<Self, KeyPatternError> {
        let refuse = |why| KeyPatternError { pattern: pattern.to_owned(), why };
        let (head, rest) =
            pattern.split_once('{').ok_or_else(|| refuse(format!("it must contain {{{entity_key}}}")))?;
        let (name, tail) = rest.split_once('}').ok_or_else(|| refuse("a `{` without `}`".to_owned()))?;
        if name != entity_key {
            return Err(refuse(format!("`{name}` is not the group's entity key `{entity_key}`")));
        }
        if head.contains('}') || tail.contains(['{', '}']) {
            return Err(refuse(format!("only {{{entity_key}}} may stand in braces, once")));
        }
        let is_blank = |c: char| c.is_control() || c.is_whitespace();
        if head.starts_with('_') || head.contains(is_blank) || tail.contains(is_blank) {
            return Err(refuse("no leading `_`, no white space".to_owned()));
        }
        Ok(KeyPattern { head: head.to_owned(), tail: tail.to_owned(), is_private: false })
    }

    /// The same pattern, of an entity key that is private or is not.
    pub(crate) fn private(self, is_private: bool) -> Self {
        KeyPattern { is_private, ..self }
    }

    /// The key of one entity.
    pub fn key(&self, entity: &str) -> Key {
        let private = self.is_private.then(|| (self.head.len(), self.head.len() + entity.len()));
        Key { text: format!("{}{entity}{}", self.head, self.tail), private }
    }

    /// The entity of a key, where it is of this pattern.
    pub fn entity<'k>(&self, key: &'k str) -> Option<&'k str> {
        let entity = key.strip_prefix(&*self.head)?.strip_suffix(&*self.tail)?;
        (!entity.is_empty()).then_some(entity)
    }

    /// Whether some key could be of both patterns: then two entities would share an entry.
    pub fn overlaps(&self, other: &KeyPattern) -> bool {
        let heads = self.head.starts_with(&other.head) || other.head.starts_with(&self.head);
        let tails = self.tail.ends_with(&other.tail) || other.tail.ends_with(&self.tail);
        heads && tails
    }
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
    fn patterns() {
        let pattern = KeyPattern::parse("product:hot:{product_id}", "product_id").expect("a good pattern");
        assert_eq!(pattern.key("85123A").as_str(), "product:hot:85123A");
        assert_eq!(pattern.entity("product:hot:85123A"), Some("85123A"));
        assert_eq!((pattern.entity("product:hot:"), pattern.entity("product:all:85123A")), (None, None));
        let other = |text| KeyPattern::parse(text, "product_id").expect("a good pattern");
        assert!(
            pattern.overlaps(&other("product:{product_id}")) && !pattern.overlaps(&other("product:all:{product_id}"))
        );
        for bad in [
            "product",
            "product:{sku}",
            "{product_id}{product_id}",
            "a b{product_id}",
            "p:{product_id",
            "_{product_id}",
        ] {
            assert!(KeyPattern::parse(bad, "product_id").is_err(), "{bad}");
        }
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
