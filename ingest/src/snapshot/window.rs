//! What has happened to a table since the low mark. Pure.

use std::collections::HashSet;

/// Keys that are remembered at most; a window in which more has changed is read again.
const KEYS_MAX: usize = 100_000;

/// One chunk's window.
pub(crate) struct Window {
    /// `schema.table`.
    pub table: String,
    touched: HashSet<Vec<u8>>,
    is_spoilt: bool,
}

impl Window {
    pub fn new(table: String) -> Self {
        Window { table, touched: HashSet::new(), is_spoilt: false }
    }

    /// A change of this key is in the log.
    pub fn touch(&mut self, key: &[u8]) {
        if self.touched.len() >= KEYS_MAX {
            self.spoil();
        } else if !self.is_spoilt {
            self.touched.insert(key.to_vec());
        }
    }

    /// Too much has happened to tell what of the chunk still holds.
    pub fn spoil(&mut self) {
        self.is_spoilt = true;
        self.touched = HashSet::new();
    }

    pub fn is_spoilt(&self) -> bool {
        self.is_spoilt
    }

    /// Whether a row with this key may be published as it was read.
    pub fn admits(&self, key: &[u8]) -> bool {
        !self.is_spoilt && !self.touched.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_changes_win() {
        let mut window = Window::new("s.t".to_owned());
        window.touch(b"a");
        assert!(!window.admits(b"a") && window.admits(b"b"));
        window.spoil();
        assert!(!window.admits(b"b"), "after a truncate nothing holds");
        let mut full = Window::new("s.t".to_owned());
        (0..=KEYS_MAX as u64).for_each(|n| full.touch(&n.to_be_bytes()));
        assert!(full.is_spoilt());
    }
}
