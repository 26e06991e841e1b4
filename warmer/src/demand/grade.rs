//! How good the hot set was, hour by hour: what was asked for in an hour is held against the set that was fixed before the
//! hour began, and against an LRU of the same size that saw the same. Pure.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::Source;
use crate::forecast::hour::Hour;
use crate::lru::Lru;

/// Sets kept: those of the newest hours.
const SETS_MAX: usize = 4;
/// Hours that get asks at the same time, at most.
const OPEN_MAX: usize = 4;
/// Where it is so many hours earlier than it was, the shop's time is another: old sales are played. (Four weeks: partitions
/// that are not read in step are days apart at most, however fast sales are played.)
const BACK_HOURS: i64 = 672;
/// Graded hours kept: a day.
const GRADED_MAX: usize = 24;
/// How heavy an older hour is beside the next, where the fewest members are sought that would have been enough.
const FADES: f64 = 0.97;

/// A set as it was announced, and what came behind its members.
pub(crate) struct Ranked {
    ranks: HashMap<Arc<str>, usize>,
    members: usize,
}

impl Ranked {
    /// Best first; the first `members` are the set.
    pub fn new(best_first: impl IntoIterator<Item = Arc<str>>, members: usize) -> Self {
        Ranked { ranks: best_first.into_iter().zip(0..).collect(), members }
    }
}

/// What was asked for in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub asked: u64,
    /// Of it, of members of the set.
    pub covered: u64,
    /// Of it, what an LRU would have had.
    pub lru_hits: u64,
}

/// A graded hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Graded {
    pub hour: Hour,
    pub source: Source,
    pub tally: Tally,
    pub members: usize,
    /// Members that somebody asked for.
    pub members_asked: usize,
}

impl Graded {
    /// The share of what was asked for that the set had.
    pub fn coverage(&self) -> f64 {
        self.tally.covered as f64 / (self.tally.asked as f64).max(1.0)
    }

    /// The share that an LRU of the same size had.
    pub fn lru_hit_ratio(&self) -> f64 {
        self.tally.lru_hits as f64 / (self.tally.asked as f64).max(1.0)
    }

    /// The share of the set that somebody asked for.
    pub fn precision(&self) -> f64 {
        self.members_asked as f64 / (self.members as f64).max(1.0)
    }
}

struct Open {
    set: Arc<Ranked>,
    lines: Tally,
    views: Tally,
    asked: HashSet<usize>,
}

pub(crate) struct Grade {
    /// Each with the hour in which it was announced.
    sets: VecDeque<(Hour, Arc<Ranked>)>,
    open: BTreeMap<Hour, Open>,
    /// Everything before it is graded.
    over: Hour,
    graded: VecDeque<Graded>,
    lines: Lru,
    views: Lru,
    /// What was asked for by rank, older hours fading, and all of it.
    by_rank: Vec<f64>,
    asked: f64,
}

impl Grade {
    pub fn new(members: usize) -> Self {
        Grade {
            sets: VecDeque::new(),
            open: BTreeMap::new(),
            over: Hour::EARLIEST,
            graded: VecDeque::new(),
            lines: Lru::new(members),
            views: Lru::new(members),
            by_rank: Vec::new(),
            asked: 0.0,
        }
    }

    /// The set is this one from now on. It counts for the hours after `now`, up to the moment in which the next is set: unlike
    /// in an evaluation, it may have been made of lines of the very hour before.
    pub fn set(&mut self, now: Hour, set: Ranked) {
        self.lines.resize(set.members);
        self.views.resize(set.members);
        // Those of later hours were set in another time, or in this hour.
        while self.sets.back().is_some_and(|(hour, _)| *hour >= now) {
            self.sets.pop_back();
        }
        self.sets.push_back((now, Arc::new(set)));
        while self.sets.len() > SETS_MAX {
            self.sets.pop_front();
        }
    }

    /// A product was asked for. Where it does not count, the shadow learns from it all the same.
    pub fn asked(&mut self, source: Source, product: &str, hour: Hour, count: u32, counts: bool) {
        let lru = if source == Source::Lines { &mut self.lines } else { &mut self.views };
        let is_there = lru.ask(product);
        let hits = match source {
            _ if is_there => u64::from(count),
            // What is asked for again at once, is there by then.
            Source::Lines => u64::from(count.saturating_sub(1)),
            // One of a sample stands for others at other times: none of them says that it is there.
            Source::Views => 0,
        };
        let Some(open) = self.open(hour).filter(|_| counts) else { return };
        let rank = open.set.ranks.get(product).copied();
        let covered = rank.is_some_and(|rank| rank < open.set.members);
        let tally = if source == Source::Lines { &mut open.lines } else { &mut open.views };
        tally.asked += u64::from(count);
        tally.lru_hits += hits;
        if let Some(rank) = rank.filter(|_| covered) {
            tally.covered += u64::from(count);
            open.asked.insert(rank);
        }
        let by_rank = &mut self.by_rank;
        if let Some(rank) = rank {
            if by_rank.len() <= rank {
                by_rank.resize(rank + 1, 0.0);
            }
            by_rank[rank] += f64::from(count);
        }
        self.asked += f64::from(count);
    }

    /// The hour's account, by the newest set that was announced in an earlier hour.
    fn open(&mut self, hour: Hour) -> Option<&mut Open> {
        if hour < self.over {
            return None;
        }
        if !self.open.contains_key(&hour) {
            let (_, set) = self.sets.iter().rev().find(|(announced, _)| *announced < hour)?;
            let open =
                Open { set: Arc::clone(set), lines: Tally::default(), views: Tally::default(), asked: HashSet::new() };
            self.open.insert(hour, open);
            if self.open.len() > OPEN_MAX {
                let oldest = *self.open.keys().next()?;
                self.close(oldest.plus(1));
            }
        }
        self.open.get_mut(&hour)
    }

    /// All hours before `over` have all that was asked for in them; how many were graded by that.
    pub fn close(&mut self, over: Hour) -> usize {
        if self.over.since(over) >= BACK_HOURS {
            self.open.clear();
            self.over = over;
        }
        let mut count = 0;
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < over) {
            let (hour, Open { set, lines, views, asked }) = entry.remove_entry();
            // What was viewed is what a cache is asked for; without views, orders stand for it.
            let (source, tally) = if views.asked > 0 { (Source::Views, views) } else { (Source::Lines, lines) };
            let graded = Graded { hour, source, tally, members: set.members, members_asked: asked.len() };
            self.graded.push_back(graded);
            if self.graded.len() > GRADED_MAX {
                self.graded.pop_front();
            }
            self.by_rank.iter_mut().for_each(|asked| *asked *= FADES);
            self.asked *= FADES;
            count += 1;
        }
        self.over = self.over.max(over);
        count
    }

    /// The last graded hour.
    pub fn last(&self) -> Option<&Graded> {
        self.graded.back()
    }

    /// The coverage of the last day's graded hours, by what was asked for; `None` where nothing was.
    pub fn coverage_of_day(&self) -> Option<f64> {
        let sum = |of: fn(&Tally) -> u64| self.graded.iter().map(|graded| of(&graded.tally)).sum::<u64>();
        let (asked, covered) = (sum(|tally| tally.asked), sum(|tally| tally.covered));
        (asked > 0).then(|| covered as f64 / asked as f64)
    }

    /// The fewest members that would have covered so many hundredths lately; `None` where too little is known, or no number
    /// of what was ranked would have.
    pub fn fewest_covering(&self, percent: u32, asked_min: u32) -> Option<usize> {
        if self.asked < f64::from(asked_min) {
            return None;
        }
        let (wanted, mut covered) = (self.asked * f64::from(percent) / 100.0, 0.0);
        self.by_rank
            .iter()
            .position(|asked| {
                covered += asked;
                covered >= wanted
            })
            .map(|rank| rank + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(hour: i64) -> Hour {
        Hour::new(400_000 + hour)
    }

    fn ranked(names: &[&str], members: usize) -> Ranked {
        Ranked::new(names.iter().map(|name| Arc::from(*name)), members)
    }

    fn ask(grade: &mut Grade, at: i64, names: &[&str]) {
        names.iter().for_each(|name| grade.asked(Source::Lines, name, hour(at), 1, true));
    }

    #[test]
    fn an_hour_is_graded_by_the_set_that_was_fixed_before_it_began() {
        let mut grade = Grade::new(2);
        ask(&mut grade, 0, &["a", "x"]);
        assert_eq!(grade.close(hour(1)), 0, "there was no set");
        grade.set(hour(0), ranked(&["a", "b", "c"], 2));
        ask(&mut grade, 1, &["a", "a", "c"]);
        // This one was chosen with a look at the hour.
        grade.set(hour(1), ranked(&["c", "a"], 2));
        ask(&mut grade, 1, &["c"]);
        assert_eq!(grade.last(), None, "the hour is not over");
        assert_eq!(grade.close(hour(2)), 1);
        let last = *grade.last().expect("graded");
        assert_eq!((last.hour, last.tally), (hour(1), Tally { asked: 4, covered: 2, lru_hits: 3 }));
        assert_eq!((last.coverage(), last.lru_hit_ratio(), last.precision()), (0.5, 0.75, 0.5));
        ask(&mut grade, 1, &["c"]);
        ask(&mut grade, 2, &["c"]);
        assert_eq!(grade.close(hour(3)), 1, "a straggler counts nowhere");
        assert_eq!(grade.last().map(Graded::coverage), Some(1.0));
        assert_eq!(grade.coverage_of_day(), Some(0.6));
    }

    #[test]
    fn views_count_where_there_are_any() {
        let mut grade = Grade::new(1);
        grade.set(hour(0), ranked(&["a"], 1));
        ask(&mut grade, 1, &["a"]);
        grade.asked(Source::Views, "b", hour(1), 10, true);
        grade.close(hour(2));
        let last = grade.last().expect("graded");
        assert_eq!((last.source, last.tally), (Source::Views, Tally { asked: 10, covered: 0, lru_hits: 0 }));
    }

    #[test]
    fn the_past_teaches_the_shadow_and_is_not_graded() {
        let mut grade = Grade::new(1);
        grade.set(hour(0), ranked(&["b"], 1));
        grade.asked(Source::Lines, "a", hour(1), 1, false);
        ask(&mut grade, 1, &["a"]);
        grade.close(hour(2));
        assert_eq!(grade.last().map(|last| last.tally), Some(Tally { asked: 1, covered: 0, lru_hits: 1 }));
    }

    #[test]
    fn the_fewest_that_would_have_been_enough() {
        let mut grade = Grade::new(2);
        grade.set(hour(0), ranked(&["a", "b", "c", "d"], 2));
        ask(&mut grade, 1, &["a", "a", "a", "a", "a", "b", "c", "c", "d", "x"]);
        let check = |percent, expected| assert_eq!(grade.fewest_covering(percent, 10), expected, "{percent} %");
        check(50, Some(1));
        check(60, Some(2));
        check(80, Some(3));
        check(90, Some(4));
        check(95, None);
        assert_eq!(grade.fewest_covering(50, 11), None, "too little is known");
    }

    #[test]
    fn old_sales_that_are_played_are_graded_too() {
        let mut grade = Grade::new(1);
        grade.set(hour(9_000), ranked(&["a"], 1));
        grade.close(hour(9_001));
        grade.set(hour(0), ranked(&["a"], 1));
        assert_eq!(grade.close(hour(1)), 0);
        ask(&mut grade, 1, &["a", "b"]);
        assert_eq!(grade.close(hour(2)), 1);
        assert_eq!(grade.last().map(|last| (last.hour, last.coverage())), Some((hour(1), 0.5)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut grade = Grade::new(1);
        for at in 0..1_000 {
            grade.set(hour(at), ranked(&["a"], 1));
            ask(&mut grade, at + 1, &["a"]);
            ask(&mut grade, at + 900, &["a"]);
        }
        assert!(grade.sets.len() <= SETS_MAX && grade.open.len() <= OPEN_MAX && grade.graded.len() <= GRADED_MAX);
    }
}
