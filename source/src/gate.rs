//! The gate: a change is applied only once new snapshots see it (docs/protocol.md, "The gate", [5a]-[5f]).
//!
//! A commit can reach us before it is visible: its record is flushed first, its transaction leaves the server's list of
//! running ones later. One task asks for all lanes, one query in flight. A batch passes when each of its transactions is
//! seen by a snapshot, or when the horizon has passed it.

use std::time::Duration;

use lockstep_process::retry::Pauses;
use lockstep_schemas::position::{Lsn, Position};
use tokio::sync::{mpsc, oneshot, watch};

use lockstep_process::Shutdown;

use crate::database::{Database, DatabaseError, literal, required};
use crate::epoch::Epoch;
use crate::snapshot::Snapshot;

mod view;

use view::View;

/// Lanes that may wait at once before others wait for a place.
const WAITS_MAX: usize = 4_096;
const PAUSE_MIN: Duration = Duration::from_micros(500);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// `age` tells the next transaction id without taking one; a snapshot does not: its xmax is one past the newest that has
/// *ended*, and a commit whose record is written may belong to a later one.
fn question(slot: &str) -> String {
    format!(
        "SELECT pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text, \
         (SELECT system_identifier::text FROM pg_control_system()), \
         substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), \
         e.epoch::text, e.system_identifier, e.timeline, e.slot, age('3'::xid)::text \
         FROM (SELECT 1) AS one LEFT JOIN \
         (SELECT * FROM lockstep.epoch WHERE slot = {} ORDER BY epoch DESC LIMIT 1) AS e ON true",
        literal(slot)
    )
}

/// What a batch waits for.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// The epoch of its newest change.
    pub epoch: u16,
    /// LSN of its newest commit.
    pub through: Lsn,
    /// Its transactions.
    pub xids: Vec<u32>,
}

/// What the gate says to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every change is visible.
    Visible,
    /// The batch belongs to an older epoch: it may only invalidate.
    OlderEpoch,
}

/// A moment of the source at which everything before an LSN was visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The epoch.
    pub epoch: Epoch,
    /// Every commit before it is visible.
    pub lsn: Lsn,
}

/// The gate has shut with its process.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the gate has shut")]
pub struct GateShut;

enum Wait {
    Passage(Passage, oneshot::Sender<Verdict>),
    /// A wish for the epoch; whether an answer has come after it.
    Epoch(bool, oneshot::Sender<Epoch>),
    /// A wish for a settled moment; the LSN is set by the first answer that comes after the wish.
    Settled(Option<Lsn>, oneshot::Sender<Settled>),
}

/// How the gate is, for status and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GateState {
    /// The current epoch, once known.
    pub epoch: Option<Epoch>,
    /// Batches that wait.
    pub waiting: usize,
    /// Why all lanes are held, where they are.
    pub held: Option<String>,
}

/// The one gate of a process. Clones share it.
#[derive(Clone)]
pub struct Gate {
    waits: mpsc::Sender<Wait>,
    state: watch::Receiver<GateState>,
    horizon: watch::Receiver<Option<Position>>,
}

impl Gate {
    /// Starts the gate's task.
    pub fn start(database: Database, shutdown: Shutdown) -> (Gate, tokio::task::JoinHandle<()>) {
        let (waits, requests) = mpsc::channel(WAITS_MAX);
        let (tell, state) = watch::channel(GateState::default());
        let (horizon_tell, horizon) = watch::channel(None);
        let (question, view) = (question(database.slot()), View::default());
        let keeper = Keeper { question, database, view, waiting: Vec::new(), tell, horizon_tell };
        let task = tokio::spawn(keeper.run(requests, shutdown));
        (Gate { waits, state, horizon }, task)
    }

    /// Waits until the batch may be applied.
    pub async fn pass(&self, passage: Passage) -> Result<Verdict, GateShut> {
        let (done, verdict) = oneshot::channel();
        self.waits.send(Wait::Passage(passage, done)).await.map_err(|_| GateShut)?;
        verdict.await.map_err(|_| GateShut)
    }

    /// The epoch of an answer that was given after this call.
    pub async fn epoch(&self) -> Result<Epoch, GateShut> {
        let (done, epoch) = oneshot::channel();
        self.waits.send(Wait::Epoch(false, done)).await.map_err(|_| GateShut)?;
        epoch.await.map_err(|_| GateShut)
    }

    /// Waits for a moment after this call at which everything before an LSN was visible.
    pub async fn settle(&self) -> Result<Settled, GateShut> {
        let (done, settled) = oneshot::channel();
        self.waits.send(Wait::Settled(None, done)).await.map_err(|_| GateShut)?;
        settled.await.map_err(|_| GateShut)
    }

    /// Everything before it is visible to whoever begins to read now. It is as far as the last answer told: nobody waits.
    /// `None`: not known yet.
    pub fn horizon(&self) -> Option<Position> {
        *self.horizon.borrow()
    }

    /// How the gate is.
    pub fn state(&self) -> GateState {
        self.state.borrow().clone()
    }
}

struct Keeper {
    question: String,
    database: Database,
    view: View,
    waiting: Vec<Wait>,
    tell: watch::Sender<GateState>,
    horizon_tell: watch::Sender<Option<Position>>,
}

impl Keeper {
    async fn run(mut self, mut requests: mpsc::Receiver<Wait>, shutdown: Shutdown) {
        let mut pauses = Pauses::default();
        let mut pause = PAUSE_MIN;
        loop {
            if self.waiting.is_empty() {
                tokio::select! {
                    request = requests.recv() => match request {
                        Some(wait) => self.waiting.push(wait),
                        None => return,
                    },
                    () = shutdown.cancelled() => return,
                }
                pause = PAUSE_MIN;
            }
            while let Ok(wait) = requests.try_recv() {
                self.waiting.push(wait);
            }
            self.answer();
            if self.waiting.is_empty() {
                continue;
            }
            let before = self.waiting.len();
            match self.ask().await {
                Ok(()) => {
                    self.hold(None);
                    pauses = Pauses::default();
                    self.answer();
                    pause = if self.waiting.len() < before { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
                    if !self.waiting.is_empty() {
                        // Whoever comes meanwhile may be let through at once.
                        tokio::select! {
                            () = tokio::time::sleep(pause) => {}
                            Some(wait) = requests.recv() => self.waiting.push(wait),
                        }
                    }
                }
                Err(why) => {
                    self.hold(Some(why));
                    if !pauses.wait(&shutdown).await {
                        return;
                    }
                }
            }
            if shutdown.is_cancelled() {
                return;
            }
        }
    }

    /// Answers whoever needs not wait longer.
    fn answer(&mut self) {
        let view = &self.view;
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting.into_iter().filter_map(|wait| view.serve(wait)).collect();
        let waiting = self.waiting.len();
        self.tell.send_if_modified(|state| std::mem::replace(&mut state.waiting, waiting) != waiting);
    }

    fn hold(&self, why: Option<String>) {
        let epoch = self.view.epoch.clone();
        self.tell.send_if_modified(|state| {
            let changed = state.held != why || state.epoch != epoch;
            if state.held.is_none() && why.is_some() {
                tracing::warn!(reason = why.as_deref(), "the gate holds all lanes");
            }
            if state.held.is_some() && why.is_none() {
                tracing::info!("the gate is open again");
            }
            (state.held, state.epoch) = (why.clone(), epoch.clone());
            changed
        });
    }

    async fn ask(&mut self) -> Result<(), String> {
        let answer = self.database.texts(self.question.clone()).await;
        let (epoch, identity, snapshot, insert, next_xid) =
            answer.and_then(|rows| read(&rows)).map_err(|error| error.to_string())?;
        let Some(epoch) = epoch else { return Err("there is no epoch yet; ingest begins the first one".to_owned()) };
        if identity != (epoch.system_identifier.clone(), epoch.timeline.clone()) {
            return Err(format!(
                "the server is {} on timeline {}, epoch {} is {} on timeline {}; ingest must begin a new epoch",
                identity.0, identity.1, epoch.number, epoch.system_identifier, epoch.timeline
            ));
        }
        let number = epoch.number;
        self.view.learn(epoch, snapshot, insert, next_xid);
        self.horizon_tell.send_replace(Some(Position::before(number, self.view.horizon)));
        for wait in &mut self.waiting {
            match wait {
                Wait::Settled(wish @ None, _) => *wish = Some(insert),
                Wait::Epoch(asked, _) => *asked = true,
                Wait::Settled(Some(_), _) | Wait::Passage(..) => {}
            }
        }
        Ok(())
    }
}

impl View {
    /// Answers a wait, or gives it back.
    fn serve(&self, wait: Wait) -> Option<Wait> {
        match wait {
            Wait::Passage(passage, done) => match self.judge(&passage) {
                Some(verdict) => {
                    let _ = done.send(verdict);
                    None
                }
                None => Some(Wait::Passage(passage, done)),
            },
            Wait::Epoch(true, done) => {
                if let Some(epoch) = self.epoch.clone() {
                    let _ = done.send(epoch);
                }
                None
            }
            Wait::Settled(Some(lsn), done) if lsn <= self.horizon => {
                if let Some(epoch) = self.epoch.clone() {
                    let _ = done.send(Settled { epoch, lsn });
                }
                None
            }
            wait => Some(wait),
        }
    }
}

type Answer = (Option<Epoch>, (String, String), Snapshot, Lsn, u64);

fn read(rows: &[Vec<Option<String>>]) -> Result<Answer, DatabaseError> {
    let row = rows.first().map_or(&[][..], Vec::as_slice);
    let text = |at, expected| required(row, at, expected);
    let insert = text(1, "an LSN")?;
    let insert = insert.parse().map_err(|_| DatabaseError::Answer { expected: "an LSN", answer: insert.to_owned() })?;
    let identity = (text(2, "a system identifier")?.to_owned(), text(3, "a timeline")?.to_owned());
    let epoch = match row.get(4).and_then(Option::as_deref) {
        None => None,
        Some(number) => Some(Epoch {
            number: number
                .parse()
                .map_err(|_| DatabaseError::Answer { expected: "an epoch", answer: number.to_owned() })?,
            system_identifier: text(5, "an epoch")?.to_owned(),
            timeline: text(6, "an epoch")?.to_owned(),
            slot: text(7, "an epoch")?.to_owned(),
        }),
    };
    let snapshot: Snapshot = text(0, "a snapshot")?.parse()?;
    let age = text(8, "an age")?;
    let age: i32 = age.parse().map_err(|_| DatabaseError::Answer { expected: "an age", answer: age.to_owned() })?;
    let next_xid = snapshot.widen((age as u32).wrapping_add(3));
    Ok((epoch, identity, snapshot, insert, next_xid))
}
