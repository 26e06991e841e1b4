//! The jars of the broker.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::StackError;

/// The broker's jars, in an order that is the same each time: an archive of their classes fits one order only.
#[derive(Clone)]
pub(super) struct Jars {
    pub(super) folder: PathBuf,
    pub(super) files: Vec<PathBuf>,
}

impl Jars {
    pub(super) fn find(folder: &Path) -> Result<Self, StackError> {
        let missing = || StackError::MissingJars { folder: folder.to_owned() };
        let entries = fs::read_dir(folder).map_err(|_| missing())?;
        let paths = entries.flatten().map(|entry| entry.path());
        let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "jar")).collect();
        files.sort();
        let is_broker =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"kafka_"));
        if !files.iter().any(is_broker) {
            return Err(missing());
        }
        Ok(Self { folder: folder.to_owned(), files })
    }

    pub(super) fn class_path(&self) -> String {
        let files: Vec<_> = self.files.iter().map(|file| file.to_string_lossy()).collect();
        files.join(":")
    }
}
