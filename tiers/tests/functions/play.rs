//! Random operations on a tier: what is done, and what the twin answers. All chance comes from one seed.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use lockstep_schemas::change::{Cell, Row};
use lockstep_schemas::entry::Fields;
use lockstep_schemas::key::Key;
use lockstep_schemas::position::{Lsn, Position};
use lockstep_tiers::twin::{Node, Twin};
use lockstep_tiers::{Action, Applied, Claims, Filled, Place, Read};

/// Few entities, positions, names and columns, so that they meet.
pub const ENTITIES: [&str; 3] = ["7", "8", "9"];
const NAMES: [&str; 3] = ["one", "two", "engine"];
/// Runs have the length of a nonce, and so have the names of claims.
const CLAIMS: [&str; 3] =
    ["claim.one.......................", "claim.two.......................", "claim.three....................."];
const RUNS: [&str; 3] =
    ["run.one.........................", "run.one.........................", "run.two........................."];
const OWNERS: [&str; 3] = ["", "us", "them"];
const TIMELINES: [&str; 3] = ["", "00000001", "00000002"];
const COLUMNS: [&str; 3] = ["stock", "price", "name"];
/// All lives and all jumps of the clock are whole seconds, and ages lie between them: what a server needs to answer
/// makes no difference.
const SECOND_MS: u64 = 1_000;

/// What is done to a tier.
#[derive(Clone, Debug)]
pub enum Step {
    Read {
        key: Key,
        nonce: &'static str,
        slide: Option<Duration>,
        age_max: Option<Duration>,
    },
    Fill {
        fills: Vec<(Key, OwnFill)>,
    },
    Claim {
        keys: Vec<Key>,
        nonce: &'static str,
        run: &'static str,
    },
    Settle {
        fills: Vec<(Key, OwnFill)>,
    },
    Apply(OwnApply),
    Own {
        expect: Position,
        owner: &'static str,
        l3: (Position, i64),
    },
    Sweep {
        entries: Vec<String>,
    },
    /// One name is gone: evicted, or somebody deleted it.
    Evict {
        name: Option<String>,
    },
    /// Time passes.
    Pass {
        ms: u64,
    },
    /// The node fails over to an older copy of it, or comes back empty: it holds this from now on.
    FailOver {
        to: Node,
    },
}

/// A fill that owns what it names.
#[derive(Clone, Debug)]
pub struct OwnFill {
    pub nonce: String,
    pub low: Position,
    pub high: Position,
    pub source_at: Position,
    pub timeline: &'static str,
    pub ttl: Duration,
    pub fields: Option<Fields>,
}

/// A batch that owns what it names.
#[derive(Clone, Debug)]
pub struct OwnApply {
    pub expect: Position,
    pub new: Position,
    pub offset: i64,
    pub floor: Option<Position>,
    pub timeline: &'static str,
    pub at: i64,
    pub actions: Vec<(Key, Action)>,
    pub outward: Option<OwnOutward>,
}

/// Who owns L3's position, how far purges have begun, and how far they are done.
pub type OwnOutward = (&'static str, Option<Position>, Option<(Position, i64)>);

/// What a tier answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Read(Read),
    Fill(Vec<Filled>),
    Claim(Claims),
    Apply(Applied),
    Own(Result<(Position, i64), Position>),
    Sweep(u64),
    Nothing,
}

/// Steps of one seed, each chosen by what the twin holds at the time.
pub struct Play {
    pub twin: Twin,
    pub place: Place,
    key: Box<dyn Fn(&str) -> Key>,
    rng: Rng,
    copy: Node,
    /// What was claimed last, where the tier stood, and the bookmark.
    claimed: Option<(Vec<Key>, Position, String)>,
}

impl Play {
    pub fn new(twin: Twin, place: Place, key: impl Fn(&str) -> Key + 'static, seed: u64) -> Self {
        let (copy, claimed) = (twin.node.clone(), None);
        Play { copy, twin, place, key: Box::new(key), rng: Rng::with_seed(seed), claimed }
    }

    /// The next step. Every now and then the node is copied, to fail over to later.
    pub fn step(&mut self) -> Step {
        if self.rng.u8(..10) == 0 {
            self.copy = self.twin.node.clone();
        }
        match self.rng.u8(..40) {
            0..8 => self.read(),
            8..12 => self.claim(),
            12..18 => self.fill(),
            18..22 => self.settle(),
            22..33 => Step::Apply(self.apply()),
            33..35 => self.own(),
            35 => self.sweep(),
            36..38 => self.evict(),
            38 => Step::Pass { ms: SECOND_MS * self.rng.u64(1..6) },
            _ => self.fail_over(),
        }
    }

    fn read(&mut self) -> Step {
        let age_max = self.maybe(5).then(|| Duration::from_millis(SECOND_MS * self.rng.u64(0..4) + SECOND_MS / 2));
        let slide = self.maybe(3).then(|| self.life());
        Step::Read { key: self.key(), nonce: self.pick(NAMES), slide, age_max }
    }

    /// One entry, or some, of one source under one lease: mostly the one that stands, and near to what may be filled
    /// under it.
    fn fill(&mut self) -> Step {
        let (timeline, ttl) = (self.timeline(), self.life());
        let keys = self.keys();
        let first = &keys[self.rng.usize(..keys.len())];
        let source_at = if self.maybe(2) { Position::GREATEST } else { self.near(self.leased_at(first)) };
        let held = self.twin.node.field(&self.marker(first), "nonce");
        let held = held.and_then(|held| NAMES.into_iter().find(|name| *name == held));
        let nonce = held.filter(|_| !self.maybe(8)).unwrap_or_else(|| self.pick(NAMES));
        let low = if self.maybe(3) { self.near(self.floor()) } else { self.near(self.leased_at(first)) };
        let fills = keys.into_iter().map(|key| {
            let (high, fields) = (self.near(low), (!self.maybe(5)).then(|| self.row()));
            (key, OwnFill { nonce: nonce.to_owned(), low, high, source_at, timeline, ttl, fields })
        });
        Step::Fill { fills: fills.collect() }
    }

    fn claim(&mut self) -> Step {
        let (keys, nonce, run) = (self.keys(), self.pick(CLAIMS), self.pick(RUNS));
        self.claimed = Some((keys.clone(), self.position(), format!("{}{nonce}", self.position())));
        Step::Claim { keys, nonce, run }
    }

    /// What was claimed last, mostly.
    fn settle(&mut self) -> Step {
        let (timeline, ttl) = (self.timeline(), self.life());
        let other = (self.keys(), self.position(), format!("{}{}", self.position(), self.pick(CLAIMS)));
        let (claimed, then, bookmark) = self.claimed.clone().filter(|_| !self.maybe(8)).unwrap_or(other);
        let keys = if self.maybe(4) { self.keys() } else { claimed };
        let low = if self.maybe(3) { self.near(self.floor()) } else { then };
        let fills = keys.into_iter().map(|key| {
            let (high, fields) = (self.near(low), (!self.maybe(5)).then(|| self.row()));
            let nonce = bookmark.clone();
            (key, OwnFill { nonce, low, high, source_at: Position::GREATEST, timeline, ttl, fields })
        });
        Step::Settle { fills: fills.collect() }
    }

    fn marker(&self, key: &Key) -> String {
        format!("{}:_lease", self.twin.entry(&self.place, key))
    }

    fn leased_at(&self, key: &Key) -> Position {
        self.twin.node.field(&self.marker(key), "pos").and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// One, or some, none of them twice.
    fn keys(&mut self) -> Vec<Key> {
        if self.maybe(2) {
            return vec![self.key()];
        }
        let mut some = ENTITIES.to_vec();
        self.rng.shuffle(&mut some);
        some.truncate(self.rng.usize(1..=ENTITIES.len()));
        some.into_iter().map(|entity| (self.key)(entity)).collect()
    }

    fn apply(&mut self) -> OwnApply {
        let found = self.position();
        let expect = if self.maybe(8) { self.near(found) } else { found };
        let new =
            Position { lsn: Lsn(found.lsn.0 + self.rng.u64(..3)), ordinal: self.rng.u32(..3), epoch: found.epoch };
        let actions = (0..self.rng.usize(..5)).map(|_| self.action(new)).collect();
        let outward = self.maybe(2).then(|| {
            let done = self.maybe(2).then(|| (self.near(new), self.rng.i64(..20)));
            (self.owner(), self.maybe(2).then(|| self.near(new)), done)
        });
        OwnApply {
            expect,
            new,
            offset: self.rng.i64(..20),
            floor: self.maybe(8).then(|| self.near(new)),
            timeline: self.timeline(),
            at: self.rng.i64(..3),
            actions,
            outward,
        }
    }

    fn action(&mut self, new: Position) -> (Key, Action) {
        let key = self.key();
        if self.maybe(4) {
            return (key, Action::Invalidate);
        }
        let entry = self.twin.entry(&self.place, &key);
        let bound = ["_low", "_high"][self.rng.usize(..2)];
        let bound = self.twin.node.field(&entry, bound).and_then(|text| text.parse().ok()).unwrap_or(new);
        let position = if self.maybe(2) { new } else { self.near(bound) };
        let unknown = if self.maybe(2) { 0 } else { 2 };
        let cells = COLUMNS.iter().map(|_| match self.rng.u8(..6) {
            few if few < unknown => Cell::Unknown,
            5 => Cell::Null,
            _ => Cell::Value(self.text().into()),
        });
        let cells: Vec<Cell> = cells.collect();
        let is_known = !cells.contains(&Cell::Unknown);
        let fields = Row::new(COLUMNS.map(Arc::from).into(), cells);
        // Within the twin's time, which begins at 0, for its content is told by ages.
        let born = (is_known && self.maybe(2)).then(|| i64::try_from(self.twin.node.now_ms()).expect("a time") * 1_000);
        (key, Action::Refresh { position, ttl: self.life(), born, fields })
    }

    fn own(&mut self) -> Step {
        let found = self.position();
        let expect = if self.maybe(4) { self.near(found) } else { found };
        let known = self.twin.node.field(&self.watermark(), "l3").and_then(|text| text.parse().ok()).unwrap_or(found);
        Step::Own { expect, owner: self.pick(OWNERS), l3: (self.near(known), self.rng.i64(..20)) }
    }

    fn sweep(&mut self) -> Step {
        let some = ENTITIES.into_iter().filter(|_| self.rng.bool()).collect::<Vec<_>>();
        Step::Sweep { entries: some.iter().map(|entity| self.twin.entry(&self.place, &(self.key)(entity))).collect() }
    }

    /// Watermarks have no end, and so are never evicted.
    fn evict(&mut self) -> Step {
        let names: Vec<String> = self.twin.node.mortal().map(str::to_owned).collect();
        Step::Evict { name: (!names.is_empty()).then(|| names[self.rng.usize(..names.len())].clone()) }
    }

    fn fail_over(&mut self) -> Step {
        if self.maybe(6) {
            return Step::FailOver { to: Node::default() };
        }
        let mut to = self.twin.node.clone();
        to.forget_since(&self.copy);
        Step::FailOver { to }
    }

    fn watermark(&self) -> String {
        self.twin.layout().watermark(&self.place)
    }

    fn position(&self) -> Position {
        let text = self.twin.node.field(&self.watermark(), "pos");
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    fn floor(&self) -> Position {
        let text = self.twin.node.field(&self.watermark(), "floor");
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// A position, or one of its neighbours.
    fn near(&mut self, position: Position) -> Position {
        match self.rng.u8(..6) {
            0 => Position { lsn: Lsn(position.lsn.0.saturating_sub(1)), ..position },
            1 => Position { lsn: Lsn(position.lsn.0.saturating_add(1)), ..position },
            2 => Position { ordinal: position.ordinal.saturating_add(1), ..position },
            3 if self.maybe(4) => Position { epoch: position.epoch.saturating_add(1), ..position },
            _ => position,
        }
    }

    fn timeline(&mut self) -> &'static str {
        let known = self.twin.node.field(&self.watermark(), "timeline").unwrap_or_default().to_owned();
        let known = TIMELINES.into_iter().find(|timeline| *timeline == known);
        known.filter(|_| !self.maybe(4)).unwrap_or_else(|| self.pick(TIMELINES))
    }

    fn owner(&mut self) -> &'static str {
        let known = self.twin.node.field(&self.watermark(), "l3_owner").unwrap_or_default().to_owned();
        let known = OWNERS.into_iter().find(|owner| *owner == known);
        known.filter(|_| !self.maybe(3)).unwrap_or_else(|| self.pick(OWNERS))
    }

    fn row(&mut self) -> Fields {
        let some: Vec<&str> = COLUMNS.into_iter().filter(|_| !self.maybe(4)).collect();
        some.into_iter().map(|column| (Arc::from(column), self.text())).collect()
    }

    fn key(&mut self) -> Key {
        let entity = self.pick(ENTITIES);
        (self.key)(entity)
    }

    fn text(&mut self) -> String {
        self.rng.u8(..4).to_string()
    }

    fn life(&mut self) -> Duration {
        Duration::from_millis(SECOND_MS * self.rng.u64(4..9))
    }

    fn pick(&mut self, from: [&'static str; 3]) -> &'static str {
        from[self.rng.usize(..from.len())]
    }

    /// Once in so many times.
    fn maybe(&mut self, times: u8) -> bool {
        self.rng.u8(..times) == 0
    }
}
