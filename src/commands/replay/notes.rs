//! Where a replay is, in a file of the operator's, so that the same command goes on after it was stopped or killed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use lockstep_process::Failure;
use lockstep_process::failure::FailureKind;
use serde::{Deserialize, Serialize};

use crate::commands::records::{Partition, Ranges};

#[derive(Default, Serialize, Deserialize)]
struct File {
    /// The command that it belongs to.
    command: String,
    /// Of each partition: topic, partition, the next offset, the end.
    ranges: Vec<(String, i32, i64, i64)>,
}

/// Notes; without a file they are only kept in memory.
pub(super) struct Notes {
    path: Option<PathBuf>,
    command: String,
    known: Option<Ranges>,
    ranges: Ranges,
    passed: HashMap<Partition, i64>,
}

impl Notes {
    /// Reads what an earlier run of the same command has left.
    pub fn open(path: Option<&Path>, command: &str) -> Result<Self, Failure> {
        let mut notes = Notes {
            path: path.map(Path::to_owned),
            command: command.to_owned(),
            known: None,
            ranges: Ranges::new(),
            passed: HashMap::new(),
        };
        let Some(path) = path else { return Ok(notes) };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(notes),
            Err(error) => return Err(refuse(path, "can't be read").because(error)),
        };
        let file: File = serde_json::from_slice(&text).map_err(|_| refuse(path, "are not of a replay"))?;
        if file.command != command {
            return Err(refuse(path, "are of another replay").remedy("give the same options, or another file"));
        }
        let range = |(topic, partition, next, end)| ((topic, partition), (next, end));
        notes.known = Some(file.ranges.into_iter().map(range).collect());
        Ok(notes)
    }

    /// Where an earlier run was; `None`: there was none.
    pub fn ranges(&self) -> Option<Ranges> {
        self.known.clone()
    }

    /// Notes a beginning.
    pub fn begin(&mut self, ranges: &Ranges) -> Result<(), Failure> {
        self.ranges = ranges.clone();
        self.save()
    }

    /// A record was folded. It is noted with the next save, when what it asks for was sent.
    pub fn passed(&mut self, partition: &Partition, offset: i64) {
        match self.passed.get_mut(partition) {
            Some(passed) => *passed = offset,
            None => drop(self.passed.insert(partition.clone(), offset)),
        }
    }

    /// Everything folded so far was sent. The file is replaced as a whole.
    pub fn save(&mut self) -> Result<(), Failure> {
        for (partition, offset) in self.passed.drain() {
            if let Some((next, _)) = self.ranges.get_mut(&partition) {
                *next = offset + 1;
            }
        }
        let Some(path) = &self.path else { return Ok(()) };
        let range =
            |((topic, partition), (next, end)): (&Partition, &(i64, i64))| (topic.clone(), *partition, *next, *end);
        let file = File { command: self.command.clone(), ranges: self.ranges.iter().map(range).collect() };
        let beside = path.with_extension("unfinished");
        let written = std::fs::write(&beside, serde_json::to_vec(&file).unwrap_or_default())
            .and_then(|()| std::fs::rename(&beside, path));
        written.map_err(|error| refuse(path, "can't be written").because(error))
    }

    /// Nothing is left to go on with.
    pub fn end(&self) -> Result<(), Failure> {
        let Some(path) = &self.path else { return Ok(()) };
        std::fs::remove_file(path).map_err(|error| refuse(path, "can't be removed").because(error))
    }
}

fn refuse(path: &Path, why: &str) -> Failure {
    Failure::new(FailureKind::Usage, format!("the notes in {} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_goes_on_behind_what_was_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notes");
        let partition = ("lockstep.catalogue".to_owned(), 0);
        let open = |command| Notes::open(Some(&path), command);
        let mut notes = open("a").expect("no notes yet");
        assert_eq!(notes.ranges(), None);
        notes.begin(&Ranges::from([(partition.clone(), (5, 9))])).expect("a file");
        notes.passed(&partition, 5);
        notes.passed(&partition, 6);
        let killed = open("a").expect("notes").ranges().expect("ranges");
        assert_eq!(killed[&partition], (5, 9), "nothing was sent yet");
        notes.save().expect("a file");
        assert_eq!(open("a").expect("notes").ranges().expect("ranges")[&partition], (7, 9));
        assert!(open("b").is_err_and(|why| why.to_string().contains("another replay")));
        notes.end().expect("an end");
        assert!(!path.exists());
    }
}
