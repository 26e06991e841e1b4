//! A lane at work: records become chunks, chunks become jobs, and jobs go to each tier, from the inside out.

mod quiet;
mod records;

use std::collections::VecDeque;
use std::time::Duration;

use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_source::gate::Verdict;
use lockstep_tiers::{Applied, Watermark};

use super::event::{Call, Command, Event, Notice, Purged, Token, Trouble};
use super::job::Job;
use super::opening::Opened;
use super::rule::Rule;
use super::side::{Landed, Side};
use super::{Means, Turn};
use crate::fold::Chunk;

/// Jobs that wait or are under way. What is beyond waits in the log.
const JOBS_MAX: usize = 4;
/// With so many under way, a chunk is rather filled up than closed.
const JOBS_BUSY: usize = 2;

pub(super) struct Flow {
    life: u64,
    /// The next offset of the log.
    next: i64,
    /// From there on, up to here, nothing can be read.
    skips_to: Option<i64>,
    /// The newest position that was planned.
    seen: Position,
    building: Chunk,
    round_over: bool,
    jobs: VecDeque<Job>,
    /// The number of the first of them.
    first: u64,
    sides: Vec<Side>,
    owner: Option<String>,
    /// The number of the next job whose tags are to be purged.
    purging: u64,
    /// Up to here the edge is purged, and what of that the tier has from us.
    purged: Option<Purged>,
    told: Option<Purged>,
    had_changes: bool,
    moved_at: Duration,
    /// The progress by which it did: position and time.
    followed: Option<(Position, i64)>,
    /// When the last record came, and the look at the log's ends that is under way since.
    heard_at: Duration,
    looking: Option<Token>,
}

impl Flow {
    pub fn begin(means: &mut Means, opened: Opened, life: u64) -> Self {
        let least = opened.starts.iter().map(|start| start.expect).min().unwrap_or_default();
        let mut sides: Vec<Side> = opened.starts.iter().map(|start| Side::attached(start.tier, start.expect)).collect();
        for (tier, trouble) in opened.absent {
            means.say(Notice::Detached(tier, trouble));
            sides.push(Side::absent(tier, means));
        }
        sides.sort_by_key(|side| side.tier);
        means.commands.push(Command::Read { from: opened.from, life });
        if opened.purge_all && opened.owner.is_some() {
            let tags = [means.setup.partition_tag()].into();
            means.commands.push(Command::Purge((least, opened.from), tags));
        }
        Flow {
            life,
            next: opened.from,
            skips_to: None,
            // What L3 still has to purge lies before what the tiers have applied: it is planned again, and applied
            // nowhere but at the edge.
            seen: if opened.owner.is_some() { Position::LEAST } else { least },
            building: Chunk::default(),
            round_over: false,
            jobs: VecDeque::new(),
            first: 0,
            sides,
            owner: opened.owner,
            purging: 0,
            purged: None,
            told: None,
            had_changes: true,
            moved_at: means.now,
            followed: None,
            heard_at: means.now,
            looking: None,
        }
    }

    pub fn has_room(&self) -> bool {
        self.jobs.len() < JOBS_MAX
    }

    pub fn is_calling(&self) -> bool {
        self.sides.iter().any(Side::is_calling)
    }

    pub fn applied(&self) -> Vec<(TierName, Position)> {
        self.sides.iter().filter(|side| side.is_attached()).map(|side| (side.tier, side.expect)).collect()
    }

    pub fn wake_at(&self, means: &Means) -> Duration {
        let wakes = |at: usize| self.sides[at].wake_at(self.do_others_work(at, means.now));
        let sides = (0..self.sides.len()).map(wakes).min();
        sides.unwrap_or(Duration::MAX).min(self.quiet_until(means))
    }

    pub fn hear(&mut self, means: &mut Means, event: Event) -> Result<(), Turn> {
        match event {
            Event::Record(offset, read) => self.record(means, offset, read),
            Event::RoundOver => {
                self.round_over = true;
                self.skip()
            }
            Event::Passed(token, verdict, timeline) => {
                self.passed(token, verdict, &timeline);
                Ok(())
            }
            Event::Answered(token, answer) => self.answered(means, token, answer),
            Event::Found(token, answer) => self.found(means, token, answer),
            // A lane that rests would find out at its next move, which is seconds away: now it is due.
            Event::Doubted => {
                self.had_changes = true;
                Ok(())
            }
            Event::Looked(token, look) if self.looking == Some(token) => self.looked(means, look),
            Event::Purged(life, purged) if life == self.life => {
                self.purged = Some(purged);
                means.say(Notice::Reached(TierName::L3, purged.1));
                Ok(())
            }
            // Progress is kept for all lives; the rest are answers to questions of an earlier one.
            _ => Ok(()),
        }
    }

    /// Does whatever can be done now.
    pub fn advance(&mut self, means: &mut Means) -> Result<(), Turn> {
        let is_full = self.building.floor.is_some();
        if !self.building.is_empty() && (is_full || (self.round_over && self.jobs.len() < JOBS_BUSY)) {
            self.close(means);
        }
        self.follow_progress(means)?;
        self.look_for_missed(means);
        self.ask_gate(means);
        for at in 0..self.sides.len() {
            self.detach_if_overdue(means, at);
            self.sides[at].look(means);
            self.sides[at].retry(means);
            self.drive(means, at);
        }
        self.purge(means);
        self.forget();
        Ok(())
    }

    fn close(&mut self, means: &Means) {
        let chunk = std::mem::take(&mut self.building);
        self.had_changes = true;
        self.jobs.push_back(Job::of(chunk, means.obeys(Rule::GateEach)));
    }

    /// One question at a time, for the first job that needs it: while one is applied, the next may pass the gate.
    fn ask_gate(&mut self, means: &mut Means) {
        let Some(job) = self.jobs.iter_mut().find(|job| !job.is_open()) else { return };
        if let Some(passage) = job.question().cloned() {
            let token = means.ask(|token| Command::Gate(token, passage));
            job.asked(token);
        }
    }

    fn passed(&mut self, token: Token, verdict: Verdict, timeline: &str) {
        self.jobs.iter_mut().any(|job| job.pass(token, verdict, timeline));
    }

    fn answered(&mut self, means: &mut Means, token: Token, answer: Result<Applied, Trouble>) -> Result<(), Turn> {
        let Some(at) = self.sides.iter().position(|side| side.asks(token)) else {
            return self.touched(means, token, answer);
        };
        let number = self.sides[at].next_job;
        let Landed::Done { mine, call } = self.sides[at].answered(means, answer)? else { return Ok(()) };
        let tier = self.sides[at].tier;
        if let Some((_, _, done @ Some(_))) = &call.outward {
            self.told = *done;
        }
        if call.floor.is_some() {
            means.say(Notice::FloorRose(tier));
        }
        means.say(Notice::Reached(tier, call.offset));
        if let Some(job) = self.jobs.get((number - self.first) as usize) {
            let mine = job.mine(tier, &mine, &call.nonce);
            means.commands.extend(mine.into_iter().map(Command::Refill));
        }
        Ok(())
    }

    /// A detached tier can be read again.
    fn found(
        &mut self,
        means: &mut Means,
        token: Token,
        answer: Result<Option<Watermark>, Trouble>,
    ) -> Result<(), Turn> {
        let Some(side) = self.sides.iter_mut().find(|side| side.probes(token)) else { return Ok(()) };
        match answer {
            Ok(found) if means.obeys(Rule::ProbeByWrite) => side.touch(means, found.as_ref()),
            Ok(_) => return is_back(means, side),
            Err(trouble) => side.is_still_away(means, trouble),
        }
        Ok(())
    }

    fn touched(&mut self, means: &mut Means, token: Token, answer: Result<Applied, Trouble>) -> Result<(), Turn> {
        let Some(side) = self.sides.iter_mut().find(|side| side.probes(token)) else { return Ok(()) };
        match answer {
            Ok(_) => is_back(means, side),
            Err(trouble) => {
                side.is_still_away(means, trouble);
                Ok(())
            }
        }
    }

    fn do_others_work(&self, at: usize, now: Duration) -> bool {
        let others = self.sides.iter().enumerate().filter(|(other, _)| *other != at);
        others.into_iter().any(|(_, side)| side.is_attached() && !side.is_struggling(now))
    }

    fn detach_if_overdue(&mut self, means: &mut Means, at: usize) {
        if self.sides[at].is_overdue(means.now) && self.do_others_work(at, means.now) {
            self.sides[at].detach(means);
        }
    }

    /// Takes the next jobs to one tier: after the gate, and after the tier beneath.
    fn drive(&mut self, means: &mut Means, at: usize) {
        let beneath = self.sides[..at].iter().rev().find(|side| side.is_attached()).map(|side| side.next_job);
        let bound = beneath.unwrap_or(u64::MAX);
        while self.sides[at].is_free() && self.sides[at].next_job < bound {
            let number = self.sides[at].next_job;
            let Some(job) = self.jobs.get((number - self.first) as usize) else { return };
            if !job.is_move && job.through <= self.sides[at].expect {
                // It has been there before.
                self.sides[at].next_job += 1;
                continue;
            }
            if !job.is_open() {
                return;
            }
            let call = self.call(job, at, means.nonce());
            self.sides[at].call(means, call);
        }
    }

    fn call(&self, job: &Job, at: usize, nonce: String) -> Call {
        let side = &self.sides[at];
        let owner = self.owner.as_ref().filter(|_| side.tier == TierName::L2);
        let done = self.purged.filter(|purged| self.told != Some(*purged));
        Call {
            expect: side.expect,
            new: job.through.max(side.expect),
            offset: job.offset,
            floor: job.floor,
            timeline: job.timeline.clone(),
            at: job.at,
            nonce,
            actions: job.actions(side.tier),
            outward: owner.map(|owner| (owner.clone(), !job.tags.is_empty(), done)),
        }
    }

    /// Purges what every tier beneath has applied. While L2 is away that waits: where purges have begun is written there.
    fn purge(&mut self, means: &mut Means) {
        if self.owner.is_none() {
            return;
        }
        let has_passed = |side: &Side, number| side.next_job > number;
        while let Some(job) = self.jobs.get(self.purging.saturating_sub(self.first) as usize) {
            let number = self.purging;
            let beneath = self.sides.iter().filter(|side| side.is_attached() || side.tier == TierName::L2);
            if !beneath.into_iter().all(|side| has_passed(side, number)) {
                return;
            }
            means.commands.push(Command::Purge((job.through, job.offset), job.tags.clone()));
            self.purging += 1;
        }
    }

    /// Drops jobs that nobody needs any more.
    fn forget(&mut self) {
        while !self.jobs.is_empty() {
            let l2_is_away = self.sides.iter().any(|side| side.tier == TierName::L2 && !side.is_attached());
            let attached = self.sides.iter().filter(|side| side.is_attached());
            let applied = attached.into_iter().all(|side| side.next_job > self.first);
            let purged = self.owner.is_none() || self.purging > self.first || l2_is_away;
            if !applied || !purged {
                return;
            }
            self.jobs.pop_front();
            self.first += 1;
            self.purging = self.purging.max(self.first);
        }
    }
}

/// A detached tier takes writes again: the lane begins anew from all watermarks.
fn is_back(means: &mut Means, side: &Side) -> Result<(), Turn> {
    means.say(Notice::Back(side.tier));
    Err(Turn::Back)
}
