//! One tier's side of a lane: where its watermark is, the one call under way, and what its answer means.

use std::time::Duration;

use lockstep_schemas::policy::TierName;
use lockstep_schemas::position::Position;
use lockstep_tiers::{Applied, Watermark};

use super::event::{Call, Command, Notice, Token, Trouble};
use super::rule::Rule;
use super::{Means, Turn, UNSEEN_MAX, pause};

/// A tier that takes longer goes its own way, where another one works.
const DETACH_AFTER: Duration = Duration::from_secs(2);
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(30);

/// A call that has not been answered with a yes yet.
struct Pending {
    call: Call,
    /// While it is under way.
    token: Option<Token>,
    since: Duration,
    failures: u32,
    retry_at: Duration,
    trouble: Option<Trouble>,
}

/// A detached tier is looked at from time to time: it is back once its watermark was read, and a write taken.
struct Probe {
    at: Duration,
    token: Option<Token>,
}

/// What came of an answer.
pub(super) enum Landed {
    /// The job is done; indices of actions whose entries are ours to fill, under the call's nonce.
    Done { mine: Vec<usize>, call: Box<Call> },
    /// It is tried again.
    NotYet,
}

pub(super) struct Side {
    pub tier: TierName,
    /// Where the watermark is, as far as we know.
    pub expect: Position,
    /// The next job's number.
    pub next_job: u64,
    pending: Option<Pending>,
    probe: Option<Probe>,
}

impl Side {
    pub fn attached(tier: TierName, expect: Position) -> Self {
        Side { tier, expect, next_job: 0, pending: None, probe: None }
    }

    /// A tier that did not answer at the start.
    pub fn absent(tier: TierName, means: &mut Means) -> Self {
        let mut side = Side::attached(tier, Position::LEAST);
        side.go_its_own_way(means);
        side
    }

    pub fn is_attached(&self) -> bool {
        self.probe.is_none()
    }

    pub fn is_calling(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.token.is_some())
    }

    /// Whether a job's call may be sent.
    pub fn is_free(&self) -> bool {
        self.is_attached() && self.pending.is_none()
    }

    pub fn is_struggling(&self, now: Duration) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.failures > 0 || now >= pending.since + DETACH_AFTER / 2)
    }

    pub fn asks(&self, token: Token) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.token == Some(token))
    }

    pub fn probes(&self, token: Token) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.token == Some(token))
    }

    pub fn wake_at(&self, others_work: bool) -> Duration {
        if let Some(probe) = self.probe.as_ref().filter(|probe| probe.token.is_none()) {
            return probe.at;
        }
        let Some(pending) = &self.pending else { return Duration::MAX };
        let retry = if pending.token.is_none() { pending.retry_at } else { Duration::MAX };
        let detach = if others_work { pending.since + DETACH_AFTER } else { Duration::MAX };
        retry.min(detach)
    }

    /// Sends a call. From here on it may land, even if it has to be sent more than once.
    pub fn call(&mut self, means: &mut Means, call: Call) {
        self.pending =
            Some(Pending { call, token: None, since: means.now, failures: 0, retry_at: means.now, trouble: None });
        self.send(means);
    }

    /// Sends a call again whose pause is over.
    pub fn retry(&mut self, means: &mut Means) {
        let due = |pending: &Pending| pending.token.is_none() && pending.retry_at <= means.now;
        if self.is_attached() && self.pending.as_ref().is_some_and(due) {
            self.send(means);
        }
    }

    fn send(&mut self, means: &mut Means) {
        let Some(pending) = &mut self.pending else { return };
        let unseen = &mut means.memory(self.tier).unseen;
        unseen.insert(pending.call.new);
        if unseen.len() > UNSEEN_MAX {
            unseen.pop_first();
        }
        pending.call.expect = self.expect;
        let (tier, call) = (self.tier, pending.call.clone());
        pending.token = Some(means.ask(|token| Command::Apply(token, tier, call)));
    }

    pub fn answered(&mut self, means: &mut Means, answer: Result<Applied, Trouble>) -> Result<Landed, Turn> {
        match answer {
            Ok(Applied::Ok { mine, .. }) => Ok(self.landed(means, mine)),
            Ok(Applied::Lost { position, .. }) => self.lost(means, position),
            Err(trouble) => {
                self.failed(means, trouble);
                Ok(Landed::NotYet)
            }
        }
    }

    fn failed(&mut self, means: &mut Means, trouble: Trouble) {
        let Some(pending) = &mut self.pending else { return };
        pending.token = None;
        if pending.trouble.as_ref() != Some(&trouble) {
            means.say(Notice::Silent(self.tier, trouble.clone()));
        }
        pending.retry_at = means.now + pause(pending.failures);
        pending.failures += 1;
        pending.trouble = Some(trouble);
    }

    fn landed(&mut self, means: &mut Means, mine: Vec<usize>) -> Landed {
        let Some(pending) = self.pending.take() else { return Landed::NotYet };
        self.expect = self.expect.max(pending.call.new);
        self.next_job += 1;
        let expect = self.expect;
        let memory = means.memory(self.tier);
        memory.unseen.retain(|position| *position > expect);
        if !pending.call.actions.is_empty() {
            memory.detached = 0;
        }
        Landed::Done { mine, call: Box::new(pending.call) }
    }

    /// The watermark is not where we left it.
    fn lost(&mut self, means: &mut Means, position: Position) -> Result<Landed, Turn> {
        let Some(pending) = &mut self.pending else { return Ok(Landed::NotYet) };
        pending.token = None;
        let is_ours = means.memory(self.tier).unseen.contains(&position) && means.obeys(Rule::LandedIsOurs);
        if is_ours && position > self.expect {
            // A call of ours landed whose answer we never saw.
            self.expect = position;
            if position >= pending.call.new {
                return Ok(self.landed(means, Vec::new()));
            }
            pending.retry_at = means.now;
            return Ok(Landed::NotYet);
        }
        if position > self.expect {
            means.say(Notice::OtherOwner(self.tier, position));
            return Err(Turn::Rejoin);
        }
        means.say(Notice::Forgot(self.tier, position));
        if !means.obeys(Rule::ForgotGoesBack) {
            (self.expect, pending.retry_at) = (position, means.now);
            return Ok(Landed::NotYet);
        }
        Err(Turn::Back)
    }

    /// Whether it has kept the others waiting for too long.
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.is_attached() && self.pending.as_ref().is_some_and(|pending| now >= pending.since + DETACH_AFTER)
    }

    /// Detaches it: where it stopped is kept by its own watermark, and the log is read from there once it is back.
    pub fn detach(&mut self, means: &mut Means) {
        let trouble = self.pending.take().and_then(|pending| pending.trouble);
        let trouble = trouble.unwrap_or_else(|| Trouble::Away(format!("no answer for {} s", DETACH_AFTER.as_secs())));
        means.say(Notice::Detached(self.tier, trouble));
        self.go_its_own_way(means);
    }

    fn go_its_own_way(&mut self, means: &mut Means) {
        let now = means.now;
        let memory = means.memory(self.tier);
        let pause = PROBE_MIN.saturating_mul(1 << memory.detached.min(10)).min(PROBE_MAX);
        memory.detached += 1;
        self.probe = Some(Probe { at: now + pause, token: None });
    }

    /// Looks whether a detached tier is back, when it is time.
    pub fn look(&mut self, means: &mut Means) {
        let (now, tier) = (means.now, self.tier);
        if let Some(probe) = self.probe.as_mut().filter(|probe| probe.token.is_none() && probe.at <= now) {
            probe.token = Some(means.ask(|token| Command::Find(token, tier)));
        }
    }

    /// It can be read. Whether it takes writes is another question: out of memory or of replicas, it would not.
    pub fn touch(&mut self, means: &mut Means, found: Option<&Watermark>) {
        let (tier, call) = (self.tier, Call::touch(found));
        if let Some(probe) = &mut self.probe {
            probe.token = Some(means.ask(|token| Command::Apply(token, tier, call)));
        }
    }

    /// It is not back yet.
    pub fn is_still_away(&mut self, means: &mut Means, trouble: Trouble) {
        means.say(Notice::StillAway(self.tier, trouble));
        self.go_its_own_way(means);
    }
}
