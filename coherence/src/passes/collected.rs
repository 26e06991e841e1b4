//! What waits for passes: entities, each once, with the views that are to be dropped; and up to where of each partition
//! nothing waits. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_schemas::control::ControlKind;
use lockstep_schemas::invalidation::Subject;
use lockstep_schemas::record::Event;
use lockstep_schemas::signal::Signal;

use crate::plan::{Planner, Views, invalidations};

/// Entities that wait; with more, the oldest pass comes early.
const ENTITIES_MAX: usize = 20_000;

/// Topic and partition.
pub(super) type Place = (String, i32);

/// What became of a record that was taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is known, with what waits for it.
    Known,
    /// Records before it are gone, and with them whatever was deferred there.
    Gone,
    /// It is of a log that was made anew, and must be read from its beginning.
    Anew,
}

/// How far a partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// The next offset.
    pub next: i64,
    /// The newest epoch that was announced there; 0: none is known.
    pub epoch: u16,
}

struct Waiting {
    views: Views,
    /// Its oldest change that waits.
    place: Place,
    offset: i64,
}

/// Of one length of wait.
#[derive(Default)]
struct Pass {
    /// When its oldest change has waited long enough, microseconds since 1970.
    due: i64,
    entities: BTreeMap<(Arc<str>, Subject), Waiting>,
}

/// All of it.
#[derive(Default)]
pub(super) struct Collected {
    passes: BTreeMap<Duration, Pass>,
    read: BTreeMap<Place, Read>,
}

impl Collected {
    /// Whether it is known how far a partition has been read.
    pub fn knows(&self, place: &Place) -> bool {
        self.read.contains_key(place)
    }

    /// Begins a partition where an earlier reader ended.
    pub fn begin(&mut self, place: Place, read: Read) {
        self.read.insert(place, read);
    }

    /// Takes a record in; one that can't be read has raised its partition's floor, and leaves nothing to a pass.
    pub fn take(&mut self, planner: &Planner, place: &Place, offset: i64, event: Result<Event, String>) -> Taken {
        let read = self.read.entry(place.clone()).or_insert(Read { next: offset, epoch: 0 });
        let epoch = match &event {
            Ok(Event::Change(change)) => change.position.epoch,
            Ok(Event::Control(control)) => control.position.epoch,
            Ok(Event::Invalidation(asked)) => asked.position.epoch,
            Ok(Event::Nothing) | Err(_) => 0,
        };
        let announces = matches!(&event, Ok(Event::Control(control)) if control.kind == ControlKind::Epoch);
        if read.epoch > 0 && epoch > read.epoch && !announces {
            self.read.insert(place.clone(), Read { next: 0, epoch });
            return Taken::Anew;
        }
        let is_gone = offset > read.next;
        *read = Read { next: offset + 1, epoch: read.epoch.max(epoch) };
        if let Ok(Event::Change(change)) = event
            && let Ok(Some(postponed)) = planner.postponed(&change)
        {
            let due = change.committed_at.saturating_add(micros(postponed.wait));
            let pass = self.passes.entry(postponed.wait).or_default();
            pass.due = if pass.entities.is_empty() { due } else { pass.due.min(due) };
            for subject in postponed.subjects {
                let waiting = pass.entities.entry((postponed.group.clone(), subject));
                let waiting = waiting.or_insert_with(|| Waiting { views: Views::new(), place: place.clone(), offset });
                waiting.views.extend(postponed.views.iter().cloned());
            }
        }
        if is_gone { Taken::Gone } else { Taken::Known }
    }

    /// When the next pass is due, microseconds since 1970; `None`: nothing waits.
    pub fn due(&self) -> Option<i64> {
        let is_full = self.passes.values().map(|pass| pass.entities.len()).sum::<usize>() >= ENTITIES_MAX;
        let due = self.passes.values().filter(|pass| !pass.entities.is_empty()).map(|pass| pass.due).min();
        if is_full { due.map(|_| 0) } else { due }
    }

    /// Takes the pass that is due first out, whole, in steps of so many entities.
    pub fn pass(&mut self, step_max: usize) -> Vec<(usize, Vec<Signal>)> {
        let first = self.passes.iter().filter(|(_, pass)| !pass.entities.is_empty()).min_by_key(|(_, pass)| pass.due);
        let Some(wait) = first.map(|(wait, _)| *wait) else { return Vec::new() };
        let entities: Vec<_> = self.passes.remove(&wait).unwrap_or_default().entities.into_iter().collect();
        let told = |step: &[((Arc<str>, Subject), Waiting)]| {
            invalidations(step.iter().map(|((group, subject), waiting)| (group, subject, &waiting.views)))
        };
        entities.chunks(step_max).map(|step| (step.len(), told(step))).collect()
    }

    /// Of each partition, the offset before which nothing waits, and the epoch that was read there.
    pub fn done(&self) -> BTreeMap<Place, Read> {
        let mut done = self.read.clone();
        for waiting in self.passes.values().flat_map(|pass| pass.entities.values()) {
            if let Some(read) = done.get_mut(&waiting.place) {
                read.next = read.next.min(waiting.offset);
            }
        }
        done
    }

    /// A partition is another's: where it has been read to by then is not known here.
    pub fn leave(&mut self, place: &Place) {
        self.forget(place);
        self.read.remove(place);
    }

    /// What waited in a partition waits no longer: whatever was made of it is gone.
    pub fn forget(&mut self, place: &Place) {
        for pass in self.passes.values_mut() {
            pass.entities.retain(|_, waiting| waiting.place != *place);
        }
    }
}

fn micros(wait: Duration) -> i64 {
    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use lockstep_schemas::change::{Cell, Change, Op, Row};
    use lockstep_schemas::control::Control;
    use lockstep_schemas::policy::Policy;
    use lockstep_schemas::position::{Lsn, Position};

    use super::*;

    const POLICY: &str = r#"
        [groups.catalogue]
        entity_key = "id"
        tables = ["public.texts"]
        [views.item]
        group = "catalogue"
        tiers = ["l2"]
        key = "item:{id}"
        ttl = "1h"
        deferred = "10s"
        sources = [{ table = "public.texts", columns = ["id", "text"], deferred = ["text"] }]
        [views.hot]
        group = "catalogue"
        tiers = ["l1"]
        through = "item"
        key = "hot:{id}"
        ttl = "1h"
        deferred = "60s"
        sources = [{ table = "public.texts", columns = ["id", "text"], deferred = ["text"] }]
        [views.page]
        group = "catalogue"
        tiers = ["l3"]
        key = "/p/{id}"
        tag = "p:{id}"
        ttl = "1h"
        sources = [{ table = "public.texts", columns = ["text"] }]
        [views.other]
        group = "catalogue"
        tiers = ["l3"]
        key = "/o/{id}"
        tag = "o:{id}"
        ttl = "1h"
        sources = [{ table = "public.texts", columns = ["id"] }]
    "#;

    fn position(epoch: u16, lsn: u64) -> Position {
        Position { epoch, lsn: Lsn(lsn), ordinal: 1 }
    }

    fn update(epoch: u16, id: &str, committed_at: i64) -> Result<Event, String> {
        let cells = [id, "a text"].map(|text| Cell::Value(text.into()));
        let after = Some(Row::new(["id", "text"].map(Arc::from).into(), cells.into()));
        let (position, table) = (position(epoch, committed_at as u64), "public.texts".into());
        let op = Op::Update;
        Ok(Event::Change(Box::new(Change {
            position,
            xid: 7,
            committed_at,
            table,
            op,
            before: None,
            after,
            incomplete: false,
        })))
    }

    fn epoch(number: u16) -> Result<Event, String> {
        Ok(Event::Control(Control { kind: ControlKind::Epoch, position: position(number, 1), xid: 0, table: None }))
    }

    fn waiting(collected: &Collected) -> Vec<String> {
        let entities = collected.passes.values().flat_map(|pass| pass.entities.keys());
        entities.map(|(_, subject)| subject.entity.clone()).collect()
    }

    fn planner() -> Planner {
        Planner::new(&Policy::parse(POLICY).unwrap_or_else(|why| panic!("{why}")))
    }

    fn place(partition: i32) -> Place {
        ("lockstep.catalogue".to_owned(), partition)
    }

    #[test]
    fn a_pass_drops_each_entity_once_with_all_that_shows_the_column() {
        let (planner, mut collected) = (planner(), Collected::default());
        for (offset, (id, at)) in (4..).zip([("a", 1_000_000), ("b", 2_000_000), ("a", 3_000_000)]) {
            assert_eq!(collected.take(&planner, &place(0), offset, update(1, id, at)), Taken::Known);
        }
        assert_eq!(collected.due(), Some(11_000_000), "the shorter of both waits, from the oldest commit");
        assert_eq!(collected.done()[&place(0)], Read { next: 4, epoch: 1 }, "nothing has been sent");
        let steps = collected.pass(10);
        let [(2, signals)] = &steps[..] else { panic!("{steps:?}") };
        let [Signal::Invalidate { subjects, views, .. }] = &signals[..] else { panic!("{signals:?}") };
        assert_eq!(subjects.iter().map(|subject| &*subject.entity).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(views.iter().map(String::as_str).collect::<Vec<_>>(), ["hot", "item", "page"], "[17b]");
        assert_eq!((collected.due(), collected.done()[&place(0)].next), (None, 7));
    }

    #[test]
    fn what_waits_in_one_partition_holds_no_other_up() {
        let (planner, mut collected) = (planner(), Collected::default());
        collected.begin(place(1), Read { next: 7, epoch: 1 });
        assert_eq!(collected.take(&planner, &place(1), 7, update(1, "a", 1)), Taken::Known);
        assert_eq!(collected.take(&planner, &place(0), 9, epoch(1)), Taken::Known);
        assert_eq!(collected.done().into_values().map(|read| read.next).collect::<Vec<_>>(), [10, 7]);
    }

    #[test]
    fn records_that_are_gone_and_logs_made_anew_are_noticed() {
        let (planner, mut collected) = (planner(), Collected::default());
        collected.begin(place(0), Read { next: 7, epoch: 1 });
        assert_eq!(collected.take(&planner, &place(0), 9, update(1, "a", 1)), Taken::Gone);
        assert_eq!(waiting(&collected).len(), 1, "it counts all the same");
        // An epoch that was announced.
        assert_eq!(collected.take(&planner, &place(0), 10, epoch(2)), Taken::Known);
        assert_eq!(collected.take(&planner, &place(0), 11, update(2, "b", 1)), Taken::Known);
        // And one that was not: its announcement lies before, where the old log had something else.
        assert_eq!(collected.take(&planner, &place(0), 12, update(3, "c", 1)), Taken::Anew);
        collected.forget(&place(0));
        assert_eq!(collected.done()[&place(0)], Read { next: 0, epoch: 3 });
        assert_eq!(collected.take(&planner, &place(0), 0, epoch(3)), Taken::Known);
        assert_eq!(collected.take(&planner, &place(0), 1, update(3, "c", 1)), Taken::Known);
        assert_eq!(waiting(&collected), ["c"]);
    }
}
