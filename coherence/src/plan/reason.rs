//! Why a change does to a view what it does, in words for people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// An update, with all that the view needs.
    Updated,
    /// A new row: only a fill makes an entry.
    Inserted,
    /// A row that is gone.
    Deleted,
    /// A column of its key changed.
    KeyMoved,
    /// A column that tells an entity's rows apart changed.
    RowMoved,
    /// The row was too large for a record.
    Incomplete,
    /// The log does not have this column.
    Unknown(Arc<str>),
    /// The policy says `on_change = "invalidate"`.
    Policy,
    /// It would be larger than an entry may be.
    TooLarge,
    /// The policy's test holds.
    TestHolds(String),
    /// The policy's test does not hold.
    TestFails(String),
    /// Every column of the view is as it was.
    Unchanged,
    /// Only deferred columns changed: a pass drops what was made of them, within so long.
    Deferred(Duration),
    /// A column of its key is null.
    NoKey,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Updated => f.write_str("an update, and the log has what the view needs"),
            Why::Inserted => f.write_str("a new row: only a fill makes an entry"),
            Why::Deleted => f.write_str("the row is gone"),
            Why::KeyMoved => {
                f.write_str("a column of its key changed: what has the old key and what has the new one go")
            }
            Why::RowMoved => f.write_str("a row is called otherwise than before"),
            Why::Incomplete => f.write_str("the row is too large for a record"),
            Why::Unknown(column) => write!(f, "the log does not have column {column}"),
            Why::Policy => f.write_str("on_change = \"invalidate\""),
            Why::TooLarge => f.write_str("larger than an entry may be"),
            Why::TestHolds(test) => write!(f, "`{test}` holds"),
            Why::TestFails(test) => write!(f, "`{test}` does not hold"),
            Why::Unchanged => f.write_str("every column of the view is known to be as it was"),
            Why::Deferred(wait) => write!(f, "only deferred columns changed: a pass drops it within {wait:?}"),
            Why::NoKey => f.write_str("a column of its key is null: such a row has no entry"),
        }
    }
}
