//! The log as every reader must read it.

use std::collections::{BTreeMap, HashMap};

use lockstep_schemas::position::{Lsn, Position};

use crate::exact::Examination;
use crate::log::{Place, Said};
use crate::tables::{Contents, RowChange};

/// What a reader has taken in: of each commit of an epoch its rows by ordinal, and each row's last state.
#[derive(Default)]
pub struct Taken {
    pub commits: BTreeMap<(u16, Lsn), (u32, BTreeMap<u32, RowChange>)>,
    pub contents: Contents,
    /// Of each partition, the positions that were new, with their offsets.
    pub first: HashMap<Place, Vec<(Position, i64)>>,
}

impl Examination<'_> {
    /// As every reader must: what is not beyond the newest position of its partition is passed over. What is passed over
    /// must have been there before, alike, or be of an epoch that is over.
    pub fn read_in_order(&mut self) -> Taken {
        let mut taken = Taken::default();
        let mut newest: HashMap<Place, Position> = HashMap::new();
        let mut known: HashMap<(Place, Position), RowChange> = HashMap::new();
        for record in self.records {
            let (position, xid, change) = match &record.said {
                Said::Change(position, xid, change) => (*position, *xid, *change),
                Said::Epoch(position) => {
                    self.counted.epoch = self.counted.epoch.max(position.epoch);
                    let newest = newest.entry(record.place).or_default();
                    *newest = (*newest).max(*position);
                    continue;
                }
                Said::Other => continue,
            };
            let newest = newest.entry(record.place).or_default();
            if position > *newest {
                *newest = position;
                known.insert((record.place, position), change);
                self.counted.changes += 1;
                change.apply(&mut taken.contents);
                taken.first.entry(record.place).or_default().push((position, record.offset));
                let commit = taken.commits.entry((position.epoch, position.lsn)).or_insert((xid, BTreeMap::new()));
                if commit.0 != xid || commit.1.insert(position.ordinal, change).is_some() {
                    self.finds("one position twice", || format!("{position} {change:?} at {record:?}"));
                }
                continue;
            }
            self.counted.repeated += 1;
            match known.get(&(record.place, position)) {
                Some(known) if *known == change => {}
                Some(known) => self.finds("a position with two contents", || format!("{known:?} and then {record:?}")),
                None if position.epoch < newest.epoch => {}
                None => self.finds("late", || format!("{record:?} comes after {newest}")),
            }
        }
        taken
    }
}
