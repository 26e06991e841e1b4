//! The functions' calls as commands: which keys a call declares, and its arguments in their order. Whoever has a
//! connection of its own, to send many of them at once, builds them here; `reply` reads the answers.

use std::sync::Arc;

use lockstep_process::clock::now_micros;
use lockstep_schemas::key::{Key, MARKER_SUFFIX};
use lockstep_schemas::position::Position;
use redis::Cmd;

use crate::layout::{Layout, Place};
use crate::tier::{ABSENT, Apply, BORN, Fill, HIGH, LEASE, LOW, Look, millis};
use crate::whole;

/// What a command's buffers begin with: what most calls take for each key, so that they seldom grow.
const ARGUMENTS_A_KEY: usize = 12;
const BYTES_A_KEY: usize = 192;

/// The calls of one tier: with tagged names on a cluster, with plain ones on one node.
#[derive(Clone, Debug)]
pub struct Calls {
    layout: Arc<Layout>,
    tagged: bool,
}

impl Calls {
    /// The calls of a tier.
    pub fn new(layout: Arc<Layout>, tagged: bool) -> Self {
        Calls { layout, tagged }
    }

    /// How keys are laid out.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether names are tagged, as on a cluster.
    pub fn is_tagged(&self) -> bool {
        self.tagged
    }

    /// An entry's name.
    pub fn entry(&self, place: &Place, key: &Key) -> String {
        self.layout.entry(place, key, self.tagged)
    }

    /// Reads an entry, or gets the right to fill it.
    pub fn read(&self, place: &Place, key: &Key, look: &Look<'_>) -> Cmd {
        let mut command = self.function("lockstep1_read", place, Named::Claimable, [key]);
        command.arg(look.nonce).arg(millis(look.lease.unwrap_or(LEASE))).arg(look.slide.map_or(0, millis));
        if let Some(age_max) = look.age_max {
            command.arg(millis(age_max));
        }
        command
    }

    /// Fills leased entries, none of them twice, of one source under one lease: all but `high` and the fields are those of the
    /// first. `born`: now, microseconds since 1970.
    pub fn fill(&self, place: &Place, fills: &[(&Key, &Fill<'_>)], born: i64) -> Cmd {
        let mut command = self.function("lockstep1_fill", place, Named::Marked, fills.iter().map(|(key, _)| *key));
        let Some((_, first)) = fills.first() else { return command };
        command.arg(first.source_at.to_string()).arg(first.timeline).arg(millis(first.ttl)).arg(first.nonce);
        wholes(&mut command, first, fills, born);
        command
    }

    /// Looks at some entries, and claims those that are missing: for one run of a filler, which claims nothing twice at a
    /// time. Both names have the length of a nonce.
    pub fn claim<'k>(
        &self,
        place: &Place,
        keys: impl IntoIterator<IntoIter: ExactSizeIterator<Item = &'k Key>>,
        nonce: &str,
        run: &str,
    ) -> Cmd {
        let mut command = self.function("lockstep1_claim", place, Named::Claimable, keys);
        command.arg(nonce).arg(run).arg(millis(LEASE));
        command
    }

    /// Fills claimed entries from the database, none of them twice, of one source and one bookmark.
    pub fn settle(&self, place: &Place, fills: &[(&Key, &Fill<'_>)], born: i64) -> Cmd {
        let mut command = self.function("lockstep1_settle", place, Named::Claimed, fills.iter().map(|(key, _)| *key));
        let Some((_, first)) = fills.first() else { return command };
        debug_assert!(fills.iter().all(|(_, fill)| fill.source_at == Position::GREATEST), "from the database");
        command.arg(first.timeline).arg(millis(first.ttl)).arg(first.nonce);
        wholes(&mut command, first, fills, born);
        command
    }

    /// Applies a batch.
    pub fn apply(&self, place: &Place, batch: &Apply<'_>) -> Cmd {
        let keys = batch.actions.iter().map(|(key, _)| key);
        // A move alone names one key, so that a slot which is half way answers it.
        let named = if batch.actions.is_empty() { Named::Marked } else { Named::Claimable };
        let mut command = self.function("lockstep1_apply", place, named, keys);
        let text = |position: Option<Position>| position.map(|position| position.to_string()).unwrap_or_default();
        command.arg(batch.expect.to_string()).arg(batch.new.to_string()).arg(batch.offset).arg(text(batch.floor));
        command.arg(batch.timeline).arg(batch.at).arg(batch.nonce).arg(millis(LEASE));
        let outward = batch.outward.as_ref();
        let done = outward.and_then(|outward| outward.done);
        command.arg(outward.map_or("", |outward| outward.owner));
        command.arg(text(outward.and_then(|outward| outward.begun)));
        command.arg(text(done.map(|(position, _)| position))).arg(done.map_or(0, |(_, offset)| offset));
        let (now, mut entry) = (now_micros(), Vec::new());
        batch.actions.iter().for_each(|(_, action)| action.arguments(&mut command, now, &mut entry));
        command
    }

    /// Takes L3's position over.
    pub fn own(&self, place: &Place, expect: Position, owner: &str, l3: (Position, i64)) -> Cmd {
        let mut command = self.function("lockstep1_own", place, Named::Marked, []);
        command.arg(expect.to_string()).arg(owner).arg(l3.0.to_string()).arg(l3.1);
        command
    }

    /// Removes those of some entries, by their names, that lie below the floor.
    pub fn sweep(&self, place: &Place, entries: &[String]) -> Cmd {
        let mut command = redis::cmd("FCALL");
        command.arg("lockstep1_sweep").arg(1 + entries.len()).arg(self.layout.watermark(place)).arg(entries);
        command
    }

    fn function<'k>(
        &self,
        name: &str,
        place: &Place,
        named: Named,
        keys: impl IntoIterator<IntoIter: ExactSizeIterator<Item = &'k Key>>,
    ) -> Cmd {
        let head = self.layout.entry_head(place, self.tagged);
        let keys = keys.into_iter();
        let (has_claims, has_markers) = (named != Named::Marked, named != Named::Claimed);
        let count = 1 + usize::from(has_claims) + (1 + usize::from(has_markers)) * keys.len();
        let mut entry = String::new();
        let mut command = Cmd::with_capacity(count * ARGUMENTS_A_KEY, count * BYTES_A_KEY);
        command.arg("FCALL").arg(name).arg(count).arg(self.layout.watermark(place));
        if has_claims {
            command.arg(self.layout.claims(place));
        }
        for key in keys {
            entry.clear();
            entry.push_str(&head);
            entry.push_str(key.as_str());
            command.arg(&entry);
            if has_markers {
                entry.push_str(MARKER_SUFFIX);
                command.arg(&entry);
            }
        }
        command
    }
}

/// What a call names, after the watermark.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Of each entry, itself and its marker.
    Marked,
    /// The place's claims, and then the same.
    Claimable,
    /// The place's claims, and each entry itself.
    Claimed,
}

/// The last arguments of what fills: `low`, and each entry, whole. All but `high` and the fields are those of the first.
fn wholes(command: &mut Cmd, first: &Fill<'_>, fills: &[(&Key, &Fill<'_>)], born: i64) {
    debug_assert!(fills.iter().all(|(_, fill)| fill.is_like(first)), "of one source under one lease");
    let (low, born, mut entry) = (first.low.to_string(), born.to_string(), Vec::new());
    let bound = |fill: &Fill<'_>| fill.high.max(first.low);
    let (mut highest, mut high) = (bound(first), bound(first).to_string());
    command.arg(&low);
    for (_, fill) in fills {
        // Those that one statement read have one bound.
        if bound(fill) != highest {
            (highest, high) = (bound(fill), bound(fill).to_string());
        }
        let own = [(LOW, &*low), (HIGH, &high), (BORN, &born)];
        let fields = fill.fields.into_iter().flatten().map(|(name, text)| (&**name, &**text));
        let absence = fill.fields.is_none().then_some((ABSENT, "1"));
        whole::hash(own.into_iter().chain(absence).chain(fields), &mut entry);
        command.arg(&entry);
    }
}
