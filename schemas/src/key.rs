//! Key patterns: `product:all:{product_id}`.

use std::fmt;

/// What the lease marker of an entry is called, behind the entry's own name. No entity may end like this.
pub const MARKER_SUFFIX: &str = ":_lease";

/// A name of an entry in a tier, without the tier's layout around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A pattern with one placeholder, the group's entity key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    head: String,
    tail: String,
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
        Ok(KeyPattern { head: head.to_owned(), tail: tail.to_owned() })
    }

    /// The key of one entity.
    pub fn key(&self, entity: &str) -> Key {
        Key(format!("{}{entity}{}", self.head, self.tail))
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
}
