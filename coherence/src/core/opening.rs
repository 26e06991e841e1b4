//! How a lane begins, and begins again: from the watermarks that it finds on the tiers (docs/protocol.md, [4c]).
//!
//! A tier that does not answer, or takes no writes, is left out, so that it holds no other up: the lane begins again once
//! it is back.

use std::collections::VecDeque;

use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_tiers::{Applied, Watermark};

use super::Means;
use super::event::{Call, Command, Event, Look, Notice, Own, Purged, Token, Trouble};
use super::rule::Rule;

/// A tier as it was found or raised.
#[derive(Clone, Copy)]
pub(super) struct Start {
    pub tier: TierName,
    pub expect: Position,
    pub offset: i64,
}

/// A lane that may flow.
pub(super) struct Opened {
    pub starts: Vec<Start>,
    /// Tiers that do not answer.
    pub absent: Vec<(TierName, Trouble)>,
    /// The log is to be read from here.
    pub from: i64,
    /// Owner of L3's position, where the group has views there and L2 answers.
    pub owner: Option<String>,
    /// Whether everything of the partition must be purged, since what changed is not known.
    pub purge_all: bool,
}

pub(super) enum Outcome {
    Open,
    Done(Opened),
    Failed { why: String, lost_from: Option<i64> },
}

enum Awaits {
    Look,
    /// The watermark of the first tier that is left.
    Watermark,
    /// A moment for raising it, since what it has can't be used.
    Moment(Option<Watermark>),
    Raised(Call),
    /// Whether a tier that may go on from here takes writes.
    Touched(Start),
    Owned,
}

/// A lane on its way to its start.
pub(super) struct Opening {
    lost_from: Option<i64>,
    token: Token,
    awaits: Awaits,
    look: Option<Look>,
    left: VecDeque<TierName>,
    starts: Vec<Start>,
    absent: Vec<(TierName, Trouble)>,
    raised: bool,
    l3: Option<Purged>,
    owner: Option<String>,
}

impl Opening {
    /// Begins by reading the log's ends, and only then the epoch: what is committed later lies behind that end.
    pub fn begin(means: &mut Means, lost_from: Option<i64>) -> Self {
        Opening {
            lost_from,
            token: means.ask(Command::Look),
            awaits: Awaits::Look,
            look: None,
            left: means.setup.tiers.iter().copied().collect(),
            starts: Vec::new(),
            absent: Vec::new(),
            raised: false,
            l3: None,
            owner: None,
        }
    }

    pub fn hear(&mut self, means: &mut Means, event: Event) -> Outcome {
        match event {
            Event::Looked(token, answer) if token == self.token => match answer {
                Ok(look) => {
                    self.look = Some(look);
                    self.next_tier(means)
                }
                Err(why) => self.failed(why),
            },
            Event::Found(token, answer) if token == self.token => match answer {
                Ok(found) => self.found(means, found),
                Err(trouble) => self.leave_out(means, trouble),
            },
            Event::Settled(token, answer) if token == self.token => match answer {
                Ok(moment) => self.raise(means, &moment),
                Err(why) => self.failed(why),
            },
            Event::Answered(token, answer) if token == self.token => match self.awaits {
                Awaits::Touched(start) => self.touched(means, start, answer),
                _ => self.raised(means, answer),
            },
            Event::Owned(token, answer) if token == self.token => match answer {
                Ok(Ok(l3)) => {
                    self.l3 = Some(l3);
                    self.done()
                }
                Ok(Err(_)) => self.failed("another engine still moves the watermark".to_owned()),
                Err(trouble) => self.failed(trouble.why().to_owned()),
            },
            _ => Outcome::Open,
        }
    }

    fn failed(&mut self, why: String) -> Outcome {
        Outcome::Failed { why, lost_from: self.lost_from }
    }

    fn next_tier(&mut self, means: &mut Means) -> Outcome {
        match self.left.front().copied() {
            Some(tier) => {
                self.awaits = Awaits::Watermark;
                self.token = means.ask(|token| Command::Find(token, tier));
                Outcome::Open
            }
            None => self.own(means),
        }
    }

    fn leave_out(&mut self, means: &mut Means, trouble: Trouble) -> Outcome {
        if let Some(tier) = self.left.pop_front() {
            self.absent.push((tier, trouble));
        }
        self.next_tier(means)
    }

    fn found(&mut self, means: &mut Means, found: Option<Watermark>) -> Outcome {
        let (Some(look), Some(tier)) = (&self.look, self.left.front().copied()) else { return Outcome::Open };
        if let Some(mark) = found.as_ref().filter(|mark| mark.position.epoch > look.epoch) {
            let why = format!(
                "{} has applied {}, of a later epoch than the database's {} (state: future); \
                 was the database restored from a backup? start ingest, which begins a new epoch, or flush the tier, l2 before l1",
                tier.as_str(),
                mark.position,
                look.epoch
            );
            return self.failed(why);
        }
        // An offset is a place in the log of one epoch only: with a new epoch the topic may have been made anew.
        let is_of_log = |position: Position, offset: i64| {
            (position.epoch == look.epoch || !means.obeys(Rule::OffsetOfEpoch))
                && (look.oldest..=look.end).contains(&offset)
        };
        if tier == TierName::L2 {
            let l3 = found.as_ref().and_then(|mark| mark.l3);
            // What can't be read again can't be purged by its tags: then everything is.
            let is_behind = |offset: i64| self.lost_from.is_none_or(|from| offset >= from);
            self.l3 = l3.filter(|(position, offset)| is_of_log(*position, *offset) && is_behind(*offset));
        }
        let usable = |mark: &&Watermark| {
            is_of_log(mark.position, mark.offset) && self.lost_from.is_none_or(|from| mark.offset >= from)
        };
        match found.as_ref().filter(usable) {
            Some(mark) => {
                let offset = if means.obeys(Rule::StartFromTier) { mark.offset } else { look.end };
                let start = Start { tier, expect: mark.position, offset };
                if !means.obeys(Rule::ProbeByWrite) {
                    return self.starts_at(means, start);
                }
                let call = Call::touch(Some(mark));
                self.awaits = Awaits::Touched(start);
                self.token = means.ask(|token| Command::Apply(token, tier, call));
                Outcome::Open
            }
            None => {
                self.awaits = Awaits::Moment(found);
                self.token = means.ask(Command::Settle);
                Outcome::Open
            }
        }
    }

    fn touched(&mut self, means: &mut Means, start: Start, answer: Result<Applied, Trouble>) -> Outcome {
        match answer {
            Ok(Applied::Ok { .. }) => self.starts_at(means, start),
            Ok(Applied::Lost { .. }) => self.failed("another engine still moves the watermark".to_owned()),
            Err(trouble) => self.leave_out(means, trouble),
        }
    }

    fn starts_at(&mut self, means: &mut Means, start: Start) -> Outcome {
        self.starts.push(start);
        self.left.pop_front();
        self.next_tier(means)
    }

    /// A tier that is unknown, or whose place in the log is gone: from now on nothing older than this moment lives there.
    ///
    /// The end of the log is read before a moment at which all was visible: what comes after it is then either in the
    /// log from there on, or visible to every fill from now on.
    fn raise(&mut self, means: &mut Means, moment: &Look) -> Outcome {
        let (Awaits::Moment(found), Some(tier)) = (&self.awaits, self.left.front().copied()) else {
            return Outcome::Open;
        };
        let floor = Position::before(moment.epoch, moment.lsn);
        let expect = found.as_ref().map_or(Position::LEAST, |mark| mark.position);
        let call = Call {
            expect,
            new: floor.max(expect),
            // A place beyond the end was one in a log that has been made anew since.
            offset: self.lost_from.map_or(moment.end, |from| from.max(moment.oldest).min(moment.end)),
            floor: means.obeys(Rule::FloorOnUnknown).then_some(floor),
            timeline: moment.timeline.clone(),
            at: moment.at,
            nonce: String::new(),
            actions: [].into(),
            outward: None,
        };
        means.say(Notice::FloorRaised(tier, floor));
        self.token = means.ask(|token| Command::Apply(token, tier, call.clone()));
        self.awaits = Awaits::Raised(call);
        Outcome::Open
    }

    fn raised(&mut self, means: &mut Means, answer: Result<Applied, Trouble>) -> Outcome {
        let Awaits::Raised(call) = &self.awaits else { return Outcome::Open };
        match answer {
            Ok(Applied::Ok { .. }) => {}
            Ok(Applied::Lost { .. }) => return self.failed("another engine still moves the watermark".to_owned()),
            Err(trouble) => return self.leave_out(means, trouble),
        }
        let (expect, offset) = (call.new, call.offset);
        if let Some(tier) = self.left.pop_front() {
            means.say(Notice::FloorRose(tier));
            self.starts.push(Start { tier, expect, offset });
        }
        self.raised = true;
        self.next_tier(means)
    }

    /// Takes L3's position over before anything is replayed [16e]. An unfinished purge of everything is found again after
    /// a crash: L3's position then stays below all others.
    fn own(&mut self, means: &mut Means) -> Outcome {
        let Some(offset) = self.starts.iter().map(|start| start.offset).min() else {
            let why: Vec<_> = self.absent.iter().map(|(tier, t)| format!("{}: {}", tier.as_str(), t.why())).collect();
            return self.failed(why.join("; "));
        };
        let l2 = self.starts.iter().find(|start| start.tier == TierName::L2);
        let Some(l2) = l2.filter(|_| means.setup.has_edge) else { return self.done() };
        let least = self.starts.iter().map(|start| start.expect).min().unwrap_or_default();
        let purge_all = self.raised || self.l3.is_none();
        let l3 = if !means.obeys(Rule::LowerL3) {
            (Position::GREATEST, offset)
        } else if purge_all {
            (Position::LEAST, offset)
        } else {
            (least, offset)
        };
        let owner = means.nonce();
        let own = Own { expect: l2.expect, owner: owner.clone(), l3 };
        self.owner = Some(owner);
        self.awaits = Awaits::Owned;
        self.token = means.ask(|token| Command::Own(token, own));
        Outcome::Open
    }

    fn done(&mut self) -> Outcome {
        let mut from = self.starts.iter().map(|start| start.offset).min().unwrap_or_default();
        let mut purge_all = false;
        if let (Some(_), Some((position, offset)), Some(look)) = (&self.owner, self.l3, &self.look) {
            purge_all = position == Position::LEAST;
            from = from.min(offset.max(look.oldest));
        }
        Outcome::Done(Opened {
            starts: std::mem::take(&mut self.starts),
            absent: std::mem::take(&mut self.absent),
            from,
            owner: self.owner.take(),
            purge_all,
        })
    }
}
