//! How fast the warmer may go: what the policy allows, less where the database is slower than it used to be, less in busy
//! hours. Additive increase, multiplicative decrease, by the latency of its own loads against their own baseline. Pure.

use std::time::Duration;

use lockstep_schemas::policy::Warming;

use crate::demand::hours::Phase;

/// Loads that are judged together, by their median.
const LOADS_JUDGED: usize = 8;
/// Slower than usual: so many times the baseline, and a little more, since a tenth of a millisecond is no trouble.
const SLOW: u32 = 2;
const SLOW_BEYOND: Duration = Duration::from_millis(2);
/// In trouble.
const TROUBLED: u32 = 8;
const TROUBLED_BEYOND: Duration = Duration::from_millis(50);
/// How much of a slower answer becomes the new baseline each time: a database that stays slower is taken as it is in the end.
const DRIFT: f64 = 0.02;
const STEP: f64 = 1.0 / 16.0;
/// To begin with, of what is allowed.
const BEGIN: f64 = 0.25;
const RATE_MIN: f64 = 1.0;
/// Of what is allowed, in busy hours.
const BUSY: f64 = 0.25;

/// What loads have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet, or all is well.
    GoOn,
    /// The database is slower than it used to be: half as fast from now on.
    Slower,
    /// It is much slower, or fails: leave it alone for a while, then begin at the least rate.
    Halt,
}

/// The rate.
#[derive(Debug)]
pub(crate) struct Pace {
    rate_max: f64,
    share: f64,
    rate: f64,
    busy: bool,
    window: Vec<Duration>,
    baseline: Option<Duration>,
}

impl Pace {
    pub fn new(warming: &Warming) -> Self {
        let rate_max = f64::from(warming.entries_per_second);
        let share = f64::from(warming.database_share.clamp(1, 100)) / 100.0;
        let rate = (rate_max * BEGIN).max(RATE_MIN);
        Pace { rate_max, share, rate, busy: false, window: Vec::with_capacity(LOADS_JUDGED), baseline: None }
    }

    /// Where the shop stands.
    pub fn phase(&mut self, phase: Phase) {
        self.busy = phase == Phase::Busy;
    }

    /// Entries a second.
    pub fn rate(&self) -> f64 {
        let max = self.rate_max * if self.busy { BUSY } else { 1.0 };
        self.rate.min(max).max(RATE_MIN.min(self.rate_max))
    }

    /// From one entry to the next.
    pub fn between(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate())
    }

    /// How long to leave the database alone after a load, so that its share is kept.
    pub fn rest_after(&self, load: Duration) -> Duration {
        load.mul_f64(1.0 / self.share - 1.0)
    }

    /// A load took so long.
    pub fn loaded(&mut self, took: Duration) -> Verdict {
        self.window.push(took);
        if self.window.len() < LOADS_JUDGED {
            return Verdict::GoOn;
        }
        self.window.sort_unstable();
        let median = self.window[LOADS_JUDGED / 2];
        self.window.clear();
        let baseline = self.baseline.unwrap_or(median);
        self.baseline = Some(match median.checked_sub(baseline) {
            Some(slower) => baseline + slower.mul_f64(DRIFT),
            None => median,
        });
        if median > baseline * TROUBLED + TROUBLED_BEYOND {
            return self.failed();
        }
        if median > baseline * SLOW + SLOW_BEYOND {
            self.rate = (self.rate() / 2.0).max(RATE_MIN);
            return Verdict::Slower;
        }
        self.rate = (self.rate + self.rate_max * STEP).min(self.rate_max);
        Verdict::GoOn
    }

    /// A load failed.
    pub fn failed(&mut self) -> Verdict {
        self.window.clear();
        self.rate = RATE_MIN;
        Verdict::Halt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Duration = Duration::from_millis(2);

    fn pace(entries_per_second: u32) -> Pace {
        Pace::new(&Warming { entries_per_second, database_share: 20, ..Warming::default() })
    }

    fn judged(pace: &mut Pace, took: Duration, times: usize) -> Verdict {
        (0..times * LOADS_JUDGED).fold(Verdict::GoOn, |last, _| match pace.loaded(took) {
            Verdict::GoOn => last,
            other => other,
        })
    }

    #[test]
    fn it_comes_up_to_what_is_allowed_and_no_further() {
        let mut pace = pace(800);
        assert!((pace.rate() - 200.0).abs() < 1e-9);
        assert_eq!(judged(&mut pace, USUAL, 100), Verdict::GoOn);
        assert!((pace.rate() - 800.0).abs() < 1e-9);
        pace.phase(Phase::Busy);
        assert!((pace.rate() - 200.0).abs() < 1e-9);
        pace.phase(Phase::Ahead);
        assert!((pace.rate() - 800.0).abs() < 1e-9);
    }

    #[test]
    fn a_slower_database_halves_it_and_a_failing_one_stops_it() {
        let mut pace = pace(800);
        judged(&mut pace, USUAL, 100);
        assert_eq!(judged(&mut pace, USUAL * 4, 1), Verdict::Slower);
        assert!((pace.rate() - 400.0).abs() < 1e-9);
        judged(&mut pace, USUAL * 4, 3);
        assert!(pace.rate() < 100.0, "{}", pace.rate());
        judged(&mut pace, USUAL, 3);
        assert!(pace.rate() > 150.0, "it recovers: {}", pace.rate());
        assert_eq!(judged(&mut pace, USUAL * 50, 1), Verdict::Halt);
        assert!((pace.rate() - RATE_MIN).abs() < 1e-9);
        assert_eq!(pace.failed(), Verdict::Halt);
    }

    #[test]
    fn one_slow_answer_is_none_and_slower_for_good_is_the_new_usual() {
        let mut pace = pace(800);
        judged(&mut pace, USUAL, 100);
        pace.loaded(USUAL * 100);
        assert_eq!(judged(&mut pace, USUAL, 1), Verdict::GoOn);
        judged(&mut pace, USUAL * 4, 200);
        assert_eq!(judged(&mut pace, USUAL * 4, 1), Verdict::GoOn);
        assert!((pace.rate() - 800.0).abs() < 1e-9);
    }

    #[test]
    fn the_database_is_busy_with_it_for_its_share_of_time() {
        let pace = pace(800);
        let rest = pace.rest_after(USUAL);
        assert_eq!((USUAL + rest).as_micros(), 10_000, "a fifth");
        assert!(Pace::new(&Warming { database_share: 100, ..Warming::default() }).rest_after(USUAL).is_zero());
    }
}
