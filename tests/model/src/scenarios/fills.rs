//! Chapters 1, 2, 3, 8, 9, 11, 12 and 14 of the counterexamples: what may create or change an entry, and who may fill it.

use super::Scenario;
use crate::history::{BOTH, Commit, DELETE, History, INSERT, PRICE, STOCK, TEXT};
use crate::pipeline::{Mishaps, Pipeline};
use crate::promise::Promise::{
    NeverBackwards, NeverBackwardsL1, NeverPartial, NoMarkerBeside, NoStaleness, OneFiller, Watermark,
};
use crate::promise::Promises;
use crate::rules::Rule::{
    AbsenceIsNotRefreshed, AbsentStaysAbsent, ActionVoidsLease, DropDeletesMarker, EngineTakesLease, FillDeletesMarker,
    HighFromStatement, InBetweenDrops, InsertInvalidates, KeepDeletesMarker, LowFromLease, OnlyThroughL2, RandomNonce,
    SnapshotNeverWrites, SourceNotBehind, UnknownIsLeftOut,
};
use crate::rules::{Rule, Rules};

/// One tier, one reader, no mishap.
pub(super) fn calm(commits: &[Commit], rules: Rules) -> Pipeline {
    let mishaps = Mishaps::default();
    let history = History::new(commits);
    Pipeline { history, rules, tiers: 1, readers: 1, fold_max: 1, mishaps, remembers: true }
}

pub(super) fn evictions(evictions: u8) -> Mishaps {
    Mishaps { evictions, ..Mishaps::default() }
}

/// One fail-over of L2.
pub(super) fn failover() -> Mishaps {
    Mishaps { failovers: [1, 0], ..Mishaps::default() }
}

pub(super) fn broken() -> Vec<Scenario> {
    let mut all = entries();
    all.extend(bounds());
    all.extend(two_tiers());
    all.extend(leases());
    all
}

/// Pairs of rules of which each makes up for the other; both off is 11a, 14h, 14i.
pub(super) fn spared() -> Vec<Scenario> {
    let spares = |id, off: Rule, history: &History| {
        let mishaps = Mishaps { fills_twice: 1, crashes: 1, ..evictions(1) };
        let model = |rules| Pipeline { history: history.clone(), mishaps, readers: 2, ..calm(&[], rules) };
        Scenario::spares(id, "every mishap but fail-overs", &[off], Promises::ONE_TIER, model)
    };
    let inserted = History::from_absence(&[INSERT, STOCK, DELETE]);
    let updated = History::new(&[PRICE, STOCK, PRICE]);
    vec![
        spares("11a", InsertInvalidates, &inserted),
        spares("11a", AbsenceIsNotRefreshed, &inserted),
        spares("14h", DropDeletesMarker, &updated),
        spares("14i", KeepDeletesMarker, &updated),
    ]
}

fn entries() -> Vec<Scenario> {
    let pp = [PRICE, PRICE];
    vec![
        Scenario::breaks("1a", "P P, evict 1", &[AbsentStaysAbsent], (NeverBackwards, 9), |rules| Pipeline {
            mishaps: evictions(1),
            ..calm(&pp, rules)
        }),
        Scenario::breaks(
            "1b",
            "P P P, no eviction",
            &[AbsentStaysAbsent, EngineTakesLease],
            (NeverBackwards, 11),
            |rules| calm(&[PRICE, PRICE, PRICE], rules),
        ),
        Scenario::breaks("1c", "P I", &[AbsentStaysAbsent], (NeverPartial, 3), |rules| calm(&[PRICE, STOCK], rules)),
        Scenario::breaks("1d", "P P, evict 1", &[ActionVoidsLease], (NeverBackwards, 10), |rules| Pipeline {
            mishaps: evictions(1),
            ..calm(&pp, rules)
        }),
        Scenario::breaks("8a", "text P", &[UnknownIsLeftOut], (NeverPartial, 9), |rules| calm(&[TEXT, PRICE], rules)),
        Scenario::breaks(
            "11a",
            "insert P, I",
            &[InsertInvalidates, AbsenceIsNotRefreshed],
            (NeverPartial, 6),
            |rules| Pipeline { history: History::from_absence(&[INSERT, STOCK]), ..calm(&[], rules) },
        ),
        Scenario::breaks("12a", "P P, one snapshot", &[SnapshotNeverWrites], (NoStaleness, 8), |rules| Pipeline {
            mishaps: Mishaps { snapshots: 1, ..Mishaps::default() },
            ..calm(&pp, rules)
        }),
    ]
}

fn bounds() -> Vec<Scenario> {
    let pp = [PRICE, PRICE];
    vec![
        Scenario::breaks("2a", "P P", &[HighFromStatement], (NeverBackwards, 8), |rules| calm(&pp, rules)),
        Scenario::breaks("2b", "P P", &[LowFromLease], (NoStaleness, 9), |rules| calm(&pp, rules)),
        Scenario::breaks("2e", "P I", &[InBetweenDrops], (NoStaleness, 9), |rules| calm(&[PRICE, STOCK], rules)),
    ]
}

fn two_tiers() -> Vec<Scenario> {
    let two = |rules| Pipeline { tiers: 2, ..calm(&[PRICE, PRICE], rules) };
    vec![
        Scenario::breaks("3a", "P P, two tiers, FO of L2", &[SourceNotBehind], (NoStaleness, 18), |rules| Pipeline {
            mishaps: failover(),
            ..two(rules)
        }),
        Scenario::breaks("9a", "P P, two tiers, FO of L2", &[SourceNotBehind], (Watermark, 12), |rules| Pipeline {
            mishaps: failover(),
            ..two(rules)
        }),
        Scenario::breaks(
            "3i",
            "P P, two tiers, 2 readers, evict 1",
            &[OnlyThroughL2],
            (NeverBackwardsL1, 12),
            |rules| Pipeline { readers: 2, mishaps: evictions(1), ..two(rules) },
        ),
        // What no rule can prevent: section 1 excepts it.
        Scenario::breaks("3m", "P, two tiers, FO of L2, evict 1", &[], (NeverBackwardsL1, 15), |rules| Pipeline {
            mishaps: Mishaps { evictions: 1, ..failover() },
            ..two(rules)
        }),
    ]
}

fn leases() -> Vec<Scenario> {
    let twice = Mishaps { fills_twice: 1, ..Mishaps::default() };
    let pip = [PRICE, STOCK, PRICE];
    vec![
        Scenario::breaks("14h", "P I P", &[DropDeletesMarker, EngineTakesLease], (NoStaleness, 12), |rules| {
            calm(&pip, rules)
        }),
        Scenario::breaks(
            "14i",
            "P I P, a fill sent twice",
            &[FillDeletesMarker, KeepDeletesMarker],
            (NoStaleness, 13),
            |rules| Pipeline { mishaps: twice, ..calm(&pip, rules) },
        ),
        Scenario::breaks("14", "P and I", &[FillDeletesMarker], (NoMarkerBeside, 3), |rules| calm(&[BOTH], rules)),
        Scenario::breaks("d", "P, 2 readers, evict 1", &[RandomNonce], (OneFiller, 3), |rules| Pipeline {
            readers: 2,
            mishaps: evictions(1),
            ..calm(&[PRICE], rules)
        }),
    ]
}
