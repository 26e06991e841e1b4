//! The fake database and its log: commits that become visible late, a topic that repeats itself, fail-overs that lose.

use std::sync::Arc;

use lockstep_schemas::change::{Cell, Change, Op, Row};
use lockstep_schemas::control::{Control, ControlKind};
use lockstep_schemas::invalidation::{Invalidation, Subject};
use lockstep_schemas::position::{Lsn, Position};
use lockstep_schemas::record::Event;
use lockstep_source::gate::{Passage, Verdict};

pub const ENTITIES: [&str; 3] = ["a", "b", "c"];
/// The row of `products` decides whether an entity exists.
pub const TABLES: [&str; 2] = ["public.products", "public.prices"];
pub const COLUMNS: [&str; 2] = ["name", "price"];
const STEP: u64 = 8;

/// A row's value: the number of the commit that wrote it; `None`: no such row.
pub type Value = Option<u64>;

#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub entity: usize,
    pub table: usize,
    pub value: Value,
    pub op: Op,
}

#[derive(Clone, Debug)]
pub struct Commit {
    pub lsn: u64,
    pub xid: u32,
    pub writes: Vec<Write>,
    pub truncates: bool,
    /// An entity whose copies somebody wants dropped.
    pub drops: Option<usize>,
    pub visible: bool,
}

/// One history of the database.
#[derive(Clone, Debug)]
pub struct History {
    pub epoch: u16,
    pub commits: Vec<Commit>,
    pub insert_lsn: u64,
}

impl History {
    pub fn timeline(&self) -> String {
        format!("{:08x}", self.epoch)
    }

    /// Every value that a row has had, with the position from which on.
    pub fn values(&self, entity: usize, table: usize) -> Vec<(Position, Value)> {
        let mut values = Vec::new();
        for commit in &self.commits {
            let writes = commit.writes.iter().enumerate();
            let written = writes.filter(|(_, write)| (write.entity, write.table) == (entity, table));
            for (ordinal, write) in written {
                values.push((self.position(commit, ordinal as u32 + 1), write.value));
            }
            if commit.truncates && table == 1 {
                values.push((self.position(commit, 1), None));
            }
        }
        values
    }

    /// What a new snapshot sees of a row.
    pub fn row(&self, entity: usize, table: usize) -> Value {
        let seen = self.commits.iter().filter(|commit| commit.visible).rev();
        for commit in seen {
            if commit.truncates && table == 1 {
                return None;
            }
            let write = commit.writes.iter().rev().find(|write| (write.entity, write.table) == (entity, table));
            if let Some(write) = write {
                return write.value;
            }
        }
        None
    }

    pub fn position(&self, commit: &Commit, ordinal: u32) -> Position {
        Position { epoch: self.epoch, lsn: Lsn(commit.lsn), ordinal }
    }

    /// Nothing that a snapshot holds lies beyond.
    pub fn high(&self) -> Position {
        Position::through(self.epoch, Lsn(self.insert_lsn))
    }
}

/// The database, the log, and what is published of it.
pub struct Shop {
    pub history: History,
    /// The primary before the last fail-over, still reachable.
    pub deposed: Option<History>,
    published: usize,
    commit_number: u64,
    xid: u32,
    pub log: Vec<Logged>,
    /// Records below are gone.
    pub oldest: usize,
}

/// A record as it can be read again and again.
#[derive(Clone, Debug)]
pub enum Logged {
    Change(Box<Change>),
    Control(Control),
    Invalidation(Box<Invalidation>),
    Rubbish,
}

impl Logged {
    pub fn read(&self) -> Result<Event, String> {
        match self {
            Logged::Change(change) => Ok(Event::Change(change.clone())),
            Logged::Control(control) => Ok(Event::Control(control.clone())),
            Logged::Invalidation(asked) => Ok(Event::Invalidation(asked.clone())),
            Logged::Rubbish => Err("not a record".to_owned()),
        }
    }
}

impl Shop {
    pub fn open() -> Self {
        let all = (0..ENTITIES.len()).flat_map(|entity| (0..TABLES.len()).map(move |table| (entity, table)));
        let writes = all.map(|(entity, table)| Write { entity, table, value: Some(0), op: Op::Insert }).collect();
        let first = Commit { lsn: STEP, xid: 1, writes, truncates: false, drops: None, visible: true };
        let history = History { epoch: 1, commits: vec![first], insert_lsn: 2 * STEP };
        Shop { history, deposed: None, published: 1, commit_number: 0, xid: 1, log: Vec::new(), oldest: 0 }
    }

    pub fn commit(&mut self, random: &mut fastrand::Rng) {
        self.commit_number += 1;
        self.xid += 1;
        let truncates = random.u32(..60) == 0;
        let drops = (random.u32(..10) == 0).then(|| random.usize(..ENTITIES.len()));
        let (lsn, xid) = (self.history.insert_lsn, self.xid);
        let mut commit = Commit { lsn, xid, writes: Vec::new(), truncates, drops, visible: false };
        let count = if truncates { 0 } else { random.usize(1..=3) };
        for _ in 0..count {
            let (entity, table) = (random.usize(..ENTITIES.len()), random.usize(..TABLES.len()));
            let earlier = self.history.values(entity, table).last().and_then(|(_, value)| *value);
            let own = commit.writes.iter().rev().find(|write: &&Write| (write.entity, write.table) == (entity, table));
            let old = own.map_or(earlier, |write| write.value);
            let (value, op) = match old {
                None => (Some(self.commit_number), Op::Insert),
                Some(_) if random.u32(..10) == 0 => (None, Op::Delete),
                Some(_) => (Some(self.commit_number), Op::Update),
            };
            commit.writes.push(Write { entity, table, value, op });
        }
        self.history.commits.push(commit);
        self.history.insert_lsn += STEP;
    }

    /// Commits that may become visible: none before an earlier one of a row that they share.
    pub fn may_be_seen(&self) -> Vec<usize> {
        let commits = &self.history.commits;
        let touches = |commit: &Commit, write: &Write| {
            (commit.truncates && write.table == 1)
                || commit.writes.iter().any(|other| (other.entity, other.table) == (write.entity, write.table))
        };
        let conflict = |one: &Commit, other: &Commit| {
            (one.truncates && (other.truncates || other.writes.iter().any(|write| write.table == 1)))
                || one.writes.iter().any(|write| touches(other, write))
        };
        (0..commits.len())
            .filter(|at| !commits[*at].visible)
            .filter(|at| !commits[..*at].iter().any(|earlier| !earlier.visible && conflict(earlier, &commits[*at])))
            .collect()
    }

    /// Publishes the next commit, if there is one.
    pub fn publish(&mut self) -> bool {
        let Some(commit) = self.history.commits.get(self.published).cloned() else { return false };
        self.published += 1;
        self.write_to_log(&commit);
        true
    }

    fn write_to_log(&mut self, commit: &Commit) {
        if commit.truncates {
            let (position, table) = (self.history.position(commit, 1), Some(TABLES[1].to_owned()));
            self.log.push(Logged::Control(Control { kind: ControlKind::Truncate, position, xid: commit.xid, table }));
        }
        for (ordinal, write) in commit.writes.iter().enumerate() {
            let position = self.history.position(commit, ordinal as u32 + 1);
            let columns: Arc<[Arc<str>]> = ["product_id".into(), COLUMNS[write.table].into()].into();
            let key = || Cell::Value(ENTITIES[write.entity].into());
            let value = |value: Value| value.map_or(Cell::Unknown, |value| Cell::Value(value.to_string().into()));
            let before = Row::new(columns.clone(), vec![key(), Cell::Unknown]);
            let after = Row::new(columns, vec![key(), value(write.value)]);
            self.log.push(Logged::Change(Box::new(Change {
                position,
                xid: commit.xid,
                committed_at: commit.lsn as i64,
                table: TABLES[write.table].into(),
                op: write.op,
                before: (write.op != Op::Insert).then_some(before),
                after: (write.op != Op::Delete).then_some(after),
                incomplete: false,
            })));
        }
        if let Some(entity) = commit.drops {
            self.log.push(Logged::Invalidation(Box::new(Invalidation {
                position: self.history.position(commit, commit.writes.len() as u32 + 2),
                xid: commit.xid,
                committed_at: commit.lsn as i64,
                subject: Subject::entity(ENTITIES[entity]),
                views: Default::default(),
            })));
        }
    }

    /// A change of some entity that nobody looks at, at once visible and published.
    pub fn change_elsewhere(&mut self, number: u32) {
        let columns: Arc<[Arc<str>]> = ["product_id".into(), COLUMNS[0].into()].into();
        let row = |name| Row::new(columns.clone(), vec![Cell::Value(format!("elsewhere-{number}").into()), name]);
        self.log.push(Logged::Change(Box::new(Change {
            position: Position { epoch: self.history.epoch, lsn: Lsn(self.history.insert_lsn), ordinal: 1 },
            xid: self.xid,
            committed_at: self.history.insert_lsn as i64,
            table: TABLES[0].into(),
            op: Op::Update,
            before: Some(row(Cell::Unknown)),
            after: Some(row(Cell::Value(number.to_string().into()))),
            incomplete: false,
        })));
        self.history.insert_lsn += STEP;
    }

    /// Ingest starts again from an older checkpoint: a suffix comes twice, with the same positions.
    pub fn publish_again(&mut self, random: &mut fastrand::Rng) {
        let from = self.published.saturating_sub(random.usize(1..=3)).max(1);
        let again: Vec<Commit> = self.history.commits[from.min(self.published)..self.published].to_vec();
        let is_of_log = |commit: &&Commit| {
            self.log.iter().any(|record| match record {
                Logged::Change(change) => {
                    change.position.lsn == Lsn(commit.lsn) && change.position.epoch == self.history.epoch
                }
                Logged::Control(control) => {
                    control.kind == ControlKind::Truncate
                        && control.position.lsn == Lsn(commit.lsn)
                        && control.position.epoch == self.history.epoch
                }
                Logged::Invalidation(_) | Logged::Rubbish => false,
            })
        };
        let again: Vec<Commit> = again.iter().filter(is_of_log).cloned().collect();
        again.iter().for_each(|commit| self.write_to_log(commit));
    }

    pub fn is_published(&self) -> bool {
        self.published == self.history.commits.len()
    }

    /// Complete up to here: what progress says.
    pub fn progress(&self) -> (Position, i64) {
        let last = self.history.commits[self.published - 1].lsn;
        let end = if self.is_published() { self.history.insert_lsn } else { last + 1 };
        (Position::before(self.history.epoch, Lsn(end)), self.log.len() as i64)
    }

    /// The gate's answer, if it has one.
    pub fn judge(&self, passage: &Passage) -> Option<Verdict> {
        if passage.epoch < self.history.epoch {
            return Some(Verdict::OlderEpoch);
        }
        let hidden = self.history.commits.iter().filter(|commit| !commit.visible);
        let waits = hidden.into_iter().any(|commit| passage.xids.contains(&commit.xid));
        (!waits).then_some(Verdict::Visible)
    }

    /// Whether every commit before an LSN is visible.
    pub fn is_settled(&self, lsn: u64) -> bool {
        self.history.commits.iter().all(|commit| commit.visible || commit.lsn >= lsn)
    }

    pub fn fail_over(&mut self, random: &mut fastrand::Rng) {
        let lost = random.usize(..3).min(self.history.commits.len() - 1);
        self.promote(lost, random.u32(..3) == 0);
    }

    /// A standby is promoted that lacks commits, some of them published. What it has is visible, and what was not published
    /// yet never is.
    pub fn promote(&mut self, lost: usize, with_the_topics: bool) {
        self.deposed = Some(self.history.clone());
        let history = &mut self.history;
        history.commits.truncate(history.commits.len() - lost);
        history.commits.iter_mut().for_each(|commit| commit.visible = true);
        history.epoch += 1;
        let last = history.commits.last().map_or(0, |commit| commit.lsn);
        history.insert_lsn = last + STEP;
        self.xid = history.commits.last().map_or(1, |commit| commit.xid);
        self.published = history.commits.len();
        if with_the_topics {
            // They go with it, and are made anew.
            (self.log, self.oldest) = (Vec::new(), 0);
        }
        let position = Position::before(history.epoch, Lsn(history.insert_lsn));
        self.log.push(Logged::Control(Control { kind: ControlKind::Epoch, position, xid: 0, table: None }));
        history.insert_lsn += STEP;
    }
}
