//! The members of the hot set as the warmer knows them: which may be missing, in which order it looks, who is let go. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Who has left the set is let go so much later: near the set's edge products come and go.
pub(crate) const LEAVE_AFTER: Duration = Duration::from_secs(15);

/// Times are counted from the warmer's start.
pub(crate) struct Members {
    by_name: HashMap<String, Member>,
    leaving: HashMap<String, Leaving>,
    /// How long an entry lives that nobody reads.
    ttl: Duration,
    /// Of all time between two looks at an entry, and how often it was missing at the second.
    between_looks: Duration,
    missing: f64,
    /// Bytes filled, and those of entries that nobody had asked for when they were let go.
    pub filled_bytes: u64,
    pub wasted_bytes: u64,
}

struct Member {
    score: f64,
    seen: Option<Duration>,
    bytes: Option<u64>,
    filled: bool,
    asked: bool,
}

/// A product that has left the set, and is still there.
struct Leaving {
    since: Duration,
    /// When it was last looked at.
    seen: Option<Duration>,
}

impl Members {
    pub fn new(ttl: Duration) -> Self {
        // As if one entry had been gone after one life: something has to be taken for the start.
        Members {
            by_name: HashMap::new(),
            leaving: HashMap::new(),
            ttl,
            between_looks: ttl,
            missing: 1.0,
            filled_bytes: 0,
            wasted_bytes: 0,
        }
    }

    /// The set is another: `hottest` with scores, best first.
    pub fn choose(&mut self, hottest: &[(String, f64)], now: Duration) {
        let chosen: HashSet<&str> = hottest.iter().map(|(name, _)| name.as_str()).collect();
        let gone: Vec<String> = self.by_name.keys().filter(|name| !chosen.contains(name.as_str())).cloned().collect();
        for name in gone {
            let member = self.by_name.remove(&name);
            if let Some(Member { filled: true, asked: false, bytes, .. }) = member {
                self.wasted_bytes += bytes.unwrap_or(0);
            }
            let seen = member.and_then(|member| member.seen);
            self.leaving.insert(name, Leaving { since: now, seen });
        }
        for (name, score) in hottest {
            let seen = self.leaving.remove(name).and_then(|leaving| leaving.seen);
            let new = Member { score: *score, seen, bytes: None, filled: false, asked: false };
            self.by_name.entry(name.clone()).or_insert(new).score = *score;
        }
    }

    /// Who is to be looked at: those never seen, and those not seen for so long; what is most likely to be asked for and not
    /// to be there first.
    pub fn due(&self, now: Duration, look_interval: Duration) -> Vec<String> {
        let mut due: Vec<(f64, &String)> = Vec::new();
        for (name, member) in &self.by_name {
            let age = member.seen.map(|seen| now.saturating_sub(seen));
            if age.is_none_or(|age| age >= look_interval) {
                due.push((member.score * self.chance_missing(age), name));
            }
        }
        due.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        due.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// How likely an entry is missing that was there so long ago.
    fn chance_missing(&self, age: Option<Duration>) -> f64 {
        match age {
            None => 1.0,
            Some(age) if age >= self.ttl => 1.0,
            Some(age) => 1.0 - (-self.missing * age.as_secs_f64() / self.between_looks.as_secs_f64().max(1e-9)).exp(),
        }
    }

    /// It was looked at: so large, and whether it had to be filled.
    pub fn seen(&mut self, name: &str, now: Duration, bytes: u64, filled: bool) {
        let Some(member) = self.by_name.get_mut(name) else { return };
        if let Some(seen) = member.seen.replace(now) {
            // Half as heavy after as many looks as there are members, about.
            self.between_looks += now.saturating_sub(seen);
            self.missing += f64::from(u8::from(filled));
        }
        member.bytes = Some(bytes);
        if filled {
            member.filled = true;
            self.filled_bytes += bytes;
        }
    }

    /// It was looked at, and is not there by that: there is nothing to do until the next look.
    pub fn passed(&mut self, name: &str, now: Duration) {
        if let Some(member) = self.by_name.get_mut(name) {
            member.seen = Some(now);
        }
    }

    /// All looks so far count half from now on.
    pub fn forget_some(&mut self) {
        self.between_looks = (self.between_looks / 2).max(Duration::from_secs(1));
        self.missing /= 2.0;
    }

    /// Everything may be missing.
    pub fn doubt(&mut self) {
        self.by_name.values_mut().for_each(|member| member.seen = None);
    }

    /// Somebody asked for it.
    pub fn asked(&mut self, name: &str) {
        if let Some(member) = self.by_name.get_mut(name) {
            member.asked = true;
        }
    }

    /// It is not a member any more, nor ever was an entry.
    pub fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Whose entries are to be let go by now, those first that left first.
    pub fn left(&self, now: Duration) -> Vec<String> {
        let over = |since: Duration| now.saturating_sub(since) >= LEAVE_AFTER;
        let mut left: Vec<(Duration, &String)> = self
            .leaving
            .iter()
            .map(|(name, leaving)| (leaving.since, name))
            .filter(|(since, _)| over(*since))
            .collect();
        left.sort_unstable();
        left.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// Its entry has been let go.
    pub fn let_go(&mut self, name: &str) {
        self.leaving.remove(name);
    }

    /// How many of these fit into so many bytes, the average standing for those never seen.
    pub fn fitting(&self, hottest: &[(String, f64)], bytes_max: u64) -> usize {
        let known: Vec<u64> = self.by_name.values().filter_map(|member| member.bytes).collect();
        let average = known.iter().sum::<u64>() / (known.len() as u64).max(1);
        let mut sum = 0_u64;
        let fits = |(name, _): &&(String, f64)| {
            sum += self.by_name.get(name).and_then(|member| member.bytes).unwrap_or(average);
            sum <= bytes_max
        };
        hottest.iter().take_while(fits).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(900);
    const LOOK: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn set(names: &[(&str, f64)]) -> Vec<(String, f64)> {
        names.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect()
    }

    #[test]
    fn what_is_new_comes_first_and_what_was_seen_waits() {
        let mut members = Members::new(TTL);
        members.choose(&set(&[("a", 3.0), ("b", 2.0), ("c", 1.0)]), at(0));
        assert_eq!(members.due(at(0), LOOK), ["a", "b", "c"]);
        for name in ["a", "b", "c"] {
            members.seen(name, at(1), 10, true);
        }
        assert!(members.due(at(50), LOOK).is_empty(), "only differences are filled");
        members.choose(&set(&[("a", 3.0), ("c", 1.0), ("d", 0.5)]), at(50));
        assert_eq!(members.due(at(50), LOOK), ["d"]);
        assert_eq!(members.due(at(70), LOOK), ["d", "a", "c"], "a new one is missing for sure, the others hardly");
        assert_eq!(members.due(at(2_000), LOOK), ["a", "c", "d"], "a whole life without a look");
        members.doubt();
        assert_eq!(members.due(at(71), LOOK).len(), 3);
    }

    #[test]
    fn who_leaves_is_let_go_later_and_not_if_it_comes_back() {
        let mut members = Members::new(TTL);
        members.choose(&set(&[("a", 3.0), ("b", 2.0), ("c", 1.0)]), at(0));
        for (name, bytes) in [("a", 1), ("b", 10), ("c", 100)] {
            members.seen(name, at(1), bytes, name != "c");
        }
        members.asked("a");
        members.choose(&set(&[("d", 1.0)]), at(10));
        assert_eq!((members.filled_bytes, members.wasted_bytes), (11, 10), "a was asked for, c was there before");
        assert!(members.left(at(20)).is_empty());
        members.choose(&set(&[("b", 1.0)]), at(20));
        assert_eq!(members.due(at(21), LOOK), Vec::<String>::new(), "it was there a moment ago");
        assert_eq!(members.left(at(25)), ["a", "c"]);
        members.let_go("a");
        assert_eq!(members.left(at(200)), ["c", "d"], "what a round had no time for comes first in the next one");
        members.let_go("c");
        assert_eq!(members.left(at(200)), ["d"]);
    }

    #[test]
    fn the_set_ends_where_its_bytes_are_used_up() {
        let mut members = Members::new(TTL);
        let hottest = set(&[("a", 3.0), ("b", 2.0), ("c", 1.0)]);
        assert_eq!(members.fitting(&hottest, 1), 3, "nothing is known yet");
        members.choose(&hottest, at(0));
        members.seen("a", at(1), 100, true);
        members.seen("b", at(1), 50, true);
        assert_eq!(members.fitting(&hottest, 224), 2);
        assert_eq!(members.fitting(&hottest, 225), 3, "c counts as the average");
    }
}
