//! The output of another process, as it comes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A log that another process writes, read as it grows.
pub(super) struct Lines {
    path: PathBuf,
    read: u64,
}

impl Lines {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), read: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lines that have been completed since the last call.
    pub(super) fn new_lines(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut bytes)
        });
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if read.is_err() || complete == 0 {
            return String::new();
        }
        self.read += complete as u64;
        String::from_utf8_lossy(&bytes[..complete]).into_owned()
    }
}
