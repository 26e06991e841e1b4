//! The evidence of what was wrong, one note a copy: how often it was met, and whether it was repaired. Pure; kept beside
//! the windows.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::findings::Violation;
use crate::touched::Touch;

/// Copies of which a process keeps a note; of more, the oldest notes give way.
pub const NOTES_MAX: usize = 1_000;
/// What the keys of notes begin with.
const PREFIX: &str = "wrong/";

/// A wrong copy. Private columns are masked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    /// As it was met last.
    #[serde(flatten)]
    pub violation: Violation,
    /// When it was met first, microseconds since 1970.
    pub first_at: i64,
    /// When it was met last.
    pub last_at: i64,
    /// How often it was met.
    pub met: u64,
    /// When an invalidation of it was last asked for.
    pub repaired_at: Option<i64>,
    /// What touched its entity last, as it was when the copy was first met. Unknown where many are met at once, or where
    /// the change is far back in the log.
    #[serde(default)]
    pub touched: Option<Touch>,
}

/// Which copy: tier, node and key.
type Copy = (String, String, String);

/// The notes of a process.
pub(crate) struct Notes {
    run: String,
    notes: Vec<Note>,
    places: HashMap<Copy, usize>,
    next: usize,
    /// Places whose notes are to be kept anew.
    changed: BTreeSet<usize>,
}

impl Notes {
    /// None yet. `run` tells processes apart.
    pub fn new(run: String) -> Self {
        Notes { run, notes: Vec::new(), places: HashMap::new(), next: 0, changed: BTreeSet::new() }
    }

    /// A copy was found to be wrong; whether for the first time.
    pub fn met(&mut self, violation: &Violation, now: i64) -> bool {
        let copy = copy(violation);
        if let Some(place) = self.places.get(&copy) {
            let note = &mut self.notes[*place];
            (note.violation, note.last_at, note.met) = (violation.clone(), now, note.met + 1);
            self.changed.insert(*place);
            return false;
        }
        let (violation, touched) = (violation.clone(), None);
        let note = Note { violation, first_at: now, last_at: now, met: 1, repaired_at: None, touched };
        let place = self.next;
        if place == self.notes.len() {
            self.notes.push(note);
        } else {
            let oldest = std::mem::replace(&mut self.notes[place], note);
            self.places.remove(&self::copy(&oldest.violation));
        }
        self.places.insert(copy, place);
        self.changed.insert(place);
        self.next = (place + 1) % NOTES_MAX;
        true
    }

    /// What touched a copy's entity last is known.
    pub fn touched(&mut self, violation: &Violation, touch: Touch) {
        if let Some(place) = self.places.get(&copy(violation)) {
            self.notes[*place].touched = Some(touch);
            self.changed.insert(*place);
        }
    }

    /// An invalidation of a copy was asked for.
    pub fn repaired(&mut self, violation: &Violation, now: i64) {
        if let Some(place) = self.places.get(&copy(violation)) {
            self.notes[*place].repaired_at = Some(now);
            self.changed.insert(*place);
        }
    }

    /// What is to be kept anew: places, and records.
    pub fn records(&self) -> (BTreeSet<usize>, Vec<(String, Vec<u8>)>) {
        let record = |place: &usize| {
            let key = format!("{PREFIX}{}/{place}", self.run);
            (key, serde_json::to_vec(&self.notes[*place]).unwrap_or_default())
        };
        (self.changed.clone(), self.changed.iter().map(record).collect())
    }

    /// The notes in these places were kept as they were; those that changed meanwhile are kept once more.
    pub fn kept(&mut self, places: &BTreeSet<usize>, records: &[(String, Vec<u8>)]) {
        for (place, (_, record)) in places.iter().zip(records) {
            if serde_json::to_vec(&self.notes[*place]).is_ok_and(|now| now == *record) {
                self.changed.remove(place);
            }
        }
    }
}

/// A note, of a record that is one.
pub(crate) fn note(key: &[u8], value: &[u8]) -> Option<Note> {
    if !key.starts_with(PREFIX.as_bytes()) {
        return None;
    }
    serde_json::from_slice(value).ok()
}

fn copy(violation: &Violation) -> Copy {
    (violation.tier.clone(), violation.node.clone(), violation.key.clone())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stale entry of L2.
    pub fn violation(key: &str) -> Violation {
        Violation {
            tier: "l2".to_owned(),
            node: "a:1".to_owned(),
            view: "product_all".to_owned(),
            key: key.to_owned(),
            kind: "stale".to_owned(),
            fields: Vec::new(),
            low: None,
            high: None,
            watermark: None,
            row_read_at: String::new(),
            entity: crate::findings::Entity::default(),
        }
    }

    #[test]
    fn a_copy_has_one_note_however_often_it_is_met() {
        let mut notes = Notes::new("7".to_owned());
        assert!(notes.met(&violation("a"), 1) && notes.met(&violation("b"), 2));
        assert!(!notes.met(&violation("a"), 3));
        let (places, records) = notes.records();
        let read: Vec<Note> = records.iter().map(|(key, value)| note(key.as_bytes(), value).expect("a note")).collect();
        let told: Vec<(&str, i64, i64, u64)> =
            read.iter().map(|note| (&*note.violation.key, note.first_at, note.last_at, note.met)).collect();
        assert_eq!(told, [("a", 1, 3, 2), ("b", 2, 2, 1)]);
        notes.repaired(&violation("b"), 4);
        notes.kept(&places, &records);
        let (_, records) = notes.records();
        assert_eq!(records.len(), 1, "what changed while it was kept is kept once more");
        assert_eq!(note(b"wrong/7/1", &records[0].1).and_then(|note| note.repaired_at), Some(4));
        assert!(note(b"minute/7/1", &records[0].1).is_none());
    }

    #[test]
    fn the_oldest_give_way() {
        let mut notes = Notes::new("7".to_owned());
        (0..NOTES_MAX + 2).for_each(|n| assert!(notes.met(&violation(&n.to_string()), 1)));
        notes.met(&violation("0"), 2);
        assert_eq!((notes.notes.len(), notes.places.len()), (NOTES_MAX, NOTES_MAX));
        assert_eq!(notes.notes[2].violation.key, "0", "it had given way, and is met anew");
    }
}
