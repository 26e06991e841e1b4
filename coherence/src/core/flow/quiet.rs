//! What a lane does where nothing comes: it follows progress, and asks whether what it waits for is still there.

use std::time::Duration;

use super::Flow;
use crate::core::event::{Command, LogProgress, Look, Notice};
use crate::core::job::Job;
use crate::core::rule::Rule;
use crate::core::{Means, Turn};

/// The watermark moves without actions this often, where the partition had changes.
const MOVE_ACTIVE: Duration = Duration::from_millis(100);
/// Where it had none, with progress that is news, at the earliest so long after the last time: an idle ingest says it every
/// second or two, all lanes hear it at once, and their calls go together.
const MOVE_IDLE: Duration = Duration::from_millis(800);
/// Without news it is said again, so that a tier that forgets while ingest is silent is found out.
const MOVE_SILENT: Duration = Duration::from_secs(3);
/// Records that progress speaks of, and that do not come for so long, may be gone from the log.
const MISSED_AFTER: Duration = Duration::from_secs(2);

impl Flow {
    /// When something of this is due.
    pub(super) fn quiet_until(&self, means: &Means) -> Duration {
        let is_quiet = self.is_empty() && self.has_consumed_all(means);
        let idle = if is_quiet { self.moved_at + self.move_wait(means) } else { Duration::MAX };
        let missed = if self.may_have_missed(means) { self.heard_at + MISSED_AFTER } else { Duration::MAX };
        idle.min(missed)
    }

    /// Whether nothing of the log is under way.
    fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.building.is_empty()
    }

    /// Moves the watermark without actions where progress allows it.
    pub(super) fn follow_progress(&mut self, means: &mut Means) -> Result<(), Turn> {
        let Some(progress) = &means.progress else { return Ok(()) };
        if !self.has_consumed_all(means) && means.obeys(Rule::ConsumedFirst) {
            return Ok(());
        }
        // A new epoch is announced in every partition before its progress: whoever has consumed it all has seen that.
        if progress.position.epoch > self.known_epoch() {
            means.say(Notice::MadeAnew);
            return Err(Turn::Back);
        }
        if !self.is_empty() || means.now < self.moved_at + self.move_wait(means) {
            return Ok(());
        }
        self.jobs.push_back(Job::following(progress, self.next));
        self.followed = Some((progress.position, progress.at));
        (self.moved_at, self.had_changes) = (means.now, false);
        Ok(())
    }

    /// Whether the lane has read all that progress speaks of.
    fn has_consumed_all(&self, means: &Means) -> bool {
        let consumed = |progress: &LogProgress| {
            let is_of_tiers = progress.position.epoch >= self.newest_epoch() || !means.obeys(Rule::ProgressOfEpoch);
            progress.next.is_some_and(|next| next <= self.next) && progress.position >= self.seen && is_of_tiers
        };
        means.progress.as_ref().is_some_and(consumed)
    }

    /// Whether progress speaks of records that have not come, though there is room for them.
    fn may_have_missed(&self, means: &Means) -> bool {
        let owed = means.progress.as_ref().is_some_and(|progress| progress.next.is_some_and(|next| next > self.next));
        owed && self.looking.is_none() && self.is_empty()
    }

    /// Where the log was cut before our place, and nothing has come since, no record would ever say so.
    pub(super) fn look_for_missed(&mut self, means: &mut Means) {
        if self.may_have_missed(means) && means.now >= self.heard_at + MISSED_AFTER {
            self.looking = Some(means.ask(Command::Look));
        }
    }

    pub(super) fn looked(&mut self, means: &mut Means, look: Result<Look, String>) -> Result<(), Turn> {
        (self.looking, self.heard_at) = (None, means.now);
        match look {
            Ok(look) if look.oldest > self.next => {
                means.say(Notice::Gone(self.next, look.oldest));
                Err(Turn::Skip { next_offset: look.oldest })
            }
            _ => Ok(()),
        }
    }

    fn move_wait(&self, means: &Means) -> Duration {
        let newest = means.progress.as_ref().map(|progress| (progress.position, progress.at));
        match self.had_changes {
            true => MOVE_ACTIVE,
            false if newest != self.followed => MOVE_IDLE,
            false => MOVE_SILENT,
        }
    }
}
