//! How fast the auditor may look, by how much there is to do for a tier and for the database. Pure.

use std::time::Duration;

/// After so long it is looked again how fast a walk may be.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// One copy costs about so many commands of its node: watermark, lease, entry, life.
pub(crate) const COMMANDS_PER_COPY: f64 = 4.0;
/// Of the load of a tier, and of the database.
const SHARE_MAX: f64 = 0.01;
/// Tiers are looked at beside one another, and share the database's part.
const TIERS: f64 = 3.0;
/// Seconds a second that the walk over a tier may cost the database, however little that does for others, where it would not
/// come round in the stated time otherwise.
const BUSY_AT_IDLE_MAX: f64 = 0.002;
/// What a copy is taken to cost the database before any has been looked at.
pub(crate) const SECONDS_PER_COPY_AT_FIRST: f64 = 0.001;

/// What is done a second, by others than the auditor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    /// Commands that the tier carries out.
    pub commands: f64,
    /// Seconds that the database's sessions spend with statements.
    pub busy: f64,
    /// Seconds that one copy costs the database.
    pub seconds_per_copy: f64,
    /// Commands that the auditor sends to the tier beside its walk: for watermarks, and for what has just changed.
    pub beside: f64,
}

/// Copies a second that may be looked at in a tier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// By the walk.
    pub walk: f64,
    /// Of what has just changed.
    pub recent: f64,
}

/// One in a hundred of what is done anyway; where that is less than the floor, so many. What has just changed may take half
/// of it, and the walk all that is left. `needed` copies a second are a walk in the stated time.
pub(crate) fn share(load: Load, floor: u32, needed: f64) -> Share {
    let (floor, seconds_per_copy) = (f64::from(floor), load.seconds_per_copy.max(f64::MIN_POSITIVE));
    let by_tier = load.commands * SHARE_MAX / COMMANDS_PER_COPY;
    let by_database = load.busy * SHARE_MAX / TIERS / seconds_per_copy;
    let all = by_tier.min(by_database).max(floor);
    let at_idle = needed.min(BUSY_AT_IDLE_MAX / seconds_per_copy);
    Share { walk: (all - load.beside / COMMANDS_PER_COPY).max(floor / 2.0).max(at_idle), recent: all / 2.0 }
}

/// How long to wait now for copies that are owed at a rate, and how many are owed after it. Never an endless rest of
/// rounding: what is due within one pause is paid by it.
pub(crate) fn pause(owed: f64, rate: f64) -> (Duration, f64) {
    let due = owed / rate.max(f64::MIN_POSITIVE);
    if due <= PAUSE_MAX.as_secs_f64() {
        return (Duration::from_secs_f64(due.max(0.0)), 0.0);
    }
    (PAUSE_MAX, owed - PAUSE_MAX.as_secs_f64() * rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy costs a millisecond.
    fn check(commands: f64, busy: f64, beside: f64, floor: u32, walk: f64, recent: f64) {
        let load = Load { commands, busy, seconds_per_copy: 0.001, beside };
        let found = share(load, floor, 0.0);
        let is_near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(is_near(found.walk, walk) && is_near(found.recent, recent), "{load:?} {floor}: {found:?}");
    }

    #[test]
    fn one_in_a_hundred_and_the_floor_where_there_is_next_to_nothing_to_do() {
        check(0.0, 0.0, 0.0, 1, 1.0, 0.5);
        check(40_000.0, 100.0, 0.0, 1, 100.0, 50.0);
        check(300_000.0, 3.0, 0.0, 1, 10.0, 5.0);
        check(2_000.0, 100.0, 0.0, 1, 5.0, 2.5);
        check(0.0, 0.0, 0.0, 400, 400.0, 200.0);
    }

    #[test]
    fn an_idle_shop_is_walked_over_in_the_stated_time_where_that_costs_little() {
        let load = Load { seconds_per_copy: 0.001, beside: 16.0, ..Load::default() };
        assert_eq!(share(load, 1, 1.5), Share { walk: 1.5, recent: 0.5 });
        assert_eq!(share(load, 1, 1_000.0), Share { walk: 2.0, recent: 0.5 });
    }

    #[test]
    fn what_is_owed_is_paid_at_any_rate() {
        for n in 1..10_000 {
            let (rate, mut owed, mut pauses) = (f64::from(n) * 0.37, 49.0, 0);
            while owed > 0.0 {
                owed = pause(owed, rate).1;
                pauses += 1;
            }
            assert_eq!(pauses, (49.0 / rate / 5.0).ceil().max(1.0) as i32, "at {rate} a second");
        }
    }

    #[test]
    fn what_is_sent_beside_the_walk_is_part_of_the_share() {
        check(40_000.0, 100.0, 160.0, 1, 60.0, 50.0);
        check(40_000.0, 100.0, 1_200.0, 1, 0.5, 50.0);
    }
}
