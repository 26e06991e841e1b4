//! Values on their way to people: logs, errors, reports. A private one is shown as a mask.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};

/// Drawn anew by every process. Whoever knew the key could try all likely addresses against a mask in a log; so nobody
/// does, and masks of two processes can't be compared. Within one process, equal values have equal masks.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A value as it may be shown. There is no other way from it to a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    text: &'a str,
    is_private: bool,
}

impl<'a> Shown<'a> {
    /// A value of a column that anybody may read.
    pub fn public(text: &'a str) -> Self {
        Shown { text, is_private: false }
    }

    /// A value of a private column, or of one of which that is not known.
    pub fn private(text: &'a str) -> Self {
        Shown { text, is_private: true }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_private {
            // Half of the hash: enough to tell two values apart, too little to stand for one.
            write!(f, "private:{:08x}", KEY.hash_one(self.text) >> 32)
        } else {
            f.write_str(self.text)
        }
    }
}

/// A panic or an assertion shows it like this.
impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The fields of an entry, each value masked: all that a `Debug` may say of them.
pub struct MaskedFields<'a>(pub &'a [(Arc<str>, String)]);

impl fmt::Debug for MaskedFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, text)| (name, Shown::private(text)))).finish()
    }
}

/// Bytes that are not the JSON that they should be. The parser's own text quotes what it found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} (line {line}, column {column})")]
pub struct JsonFault {
    what: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for JsonFault {
    fn from(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "JSON that ends too early",
            serde_json::error::Category::Data => "JSON of another form",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "no JSON",
        };
        JsonFault { what, line: error.line(), column: error.column() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_equal_where_values_are() {
        let mask = |text| Shown::private(text).to_string();
        assert_eq!(mask("ada@shop.example"), mask("ada@shop.example"));
        assert_ne!(mask("ada@shop.example"), mask("bram@shop.example"));
        assert!(mask("ada").len() == "private:".len() + 8 && !mask("ada").contains("ada"));
        assert_eq!(format!("{:?}", Shown::private("ada")), mask("ada"));
        assert_eq!(Shown::public("ada").to_string(), "ada");
    }

    #[test]
    fn a_fault_in_json_does_not_quote_it() {
        let error = serde_json::from_str::<Vec<u8>>("[\"ada\"]").expect_err("no numbers");
        assert!(error.to_string().contains("ada"), "the parser quotes: {error}");
        assert_eq!(JsonFault::from(error).to_string(), "JSON of another form (line 1, column 6)");
    }
}
