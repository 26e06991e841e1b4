//! Where a role's output goes, and its end when somebody asks why it died.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const LINES_SHOWN: usize = 8;
const TAIL_BYTES: u64 = 16 * 1024;

/// One role's log.
pub struct Log {
    path: PathBuf,
}

impl Log {
    /// `<folder>/<name>.log`; the folder is made where it is missing.
    pub fn new(folder: &Path, name: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { path: folder.join(format!("{name}.log")) })
    }

    /// Open at its end: a role that comes back writes on.
    pub fn open(&self) -> Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.with_context(|| format!("open {}", self.path.display()))
    }

    /// The last lines, each indented, and where the rest is.
    pub fn last_lines(&self) -> String {
        let tail = self.tail().unwrap_or_default();
        let lines: Vec<&str> = tail.lines().collect();
        let mut shown: Vec<String> =
            lines[lines.len().saturating_sub(LINES_SHOWN)..].iter().map(|line| format!("  | {line}")).collect();
        shown.push(format!("  its log: {}", self.path.display()));
        shown.join("\n")
    }

    fn tail(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(String::from_utf8_lossy(&tail).into_owned())
    }
}
