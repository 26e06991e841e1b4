//! Chapter 16 of the counterexamples: a page behind the CDN.

use super::Scenario;
use crate::edge::{ANY, Edge, Late};
use crate::promise::Promise::{NeverBackwards, NoStaleness};
use crate::rules::Rule::{
    BegunBeforeRounds, CompareForL3, CompareOwner, LowerL3, MoreRounds, NoStore, OwnerFencesCalls, RoundForEachLayer,
    RoundsApart, StartAtL3,
};
use crate::rules::{Rule, Rules};

/// Two changes, L2 only, one layer, no mishap.
fn calm(rules: Rules) -> Edge {
    Edge {
        rules,
        changes: 2,
        tiers: 1,
        layers: 1,
        failovers: [0, 0],
        crashes: 0,
        late: Late::Nothing,
        remembers: false,
    }
}

fn layered(rules: Rules) -> Edge {
    Edge { layers: 2, ..calm(rules) }
}

/// L2 falls back once, and the engine dies once.
fn mishaps(rules: Rules) -> Edge {
    Edge { failovers: [1, 0], crashes: 1, ..calm(rules) }
}

/// The same of L1.
fn l1(rules: Rules) -> Edge {
    Edge { tiers: 2, failovers: [0, 1], crashes: 1, ..calm(rules) }
}

fn stale(id: &'static str, bounds: &str, off: &[Rule], steps: usize, model: impl FnOnce(Rules) -> Edge) -> Scenario {
    Scenario::breaks(id, bounds, off, (NoStaleness, steps), model)
}

pub(super) fn broken() -> Vec<Scenario> {
    let late = |late| move |rules| Edge { late, ..mishaps(rules) };
    vec![
        stale("16a", "one layer", &[MoreRounds], 8, calm),
        stale("16c", "one layer", &[RoundsApart], 10, calm),
        stale("16i", "two layers", &[RoundForEachLayer], 15, layered),
        stale("16l", "two layers", &[RoundsApart], 15, layered),
        stale("16h", "a crash", &[StartAtL3], 6, |rules| Edge { crashes: 1, ..calm(rules) }),
        stale("16e", "L1: FO, a crash", &[LowerL3, NoStore], 18, l1),
        stale("16g4", "L1: FO, a crash", &[LowerL3, BegunBeforeRounds], 18, l1),
        stale("16f", "both tiers: FO, a crash", &[NoStore], 20, |rules| Edge { failovers: [1, 1], ..l1(rules) }),
        stale(
            "16g8",
            "FO, a crash, a move sent again",
            &[CompareForL3, CompareOwner, OwnerFencesCalls],
            17,
            late(Late::Moves),
        ),
        stale("16g10", "FO, a crash, a move sent again", &[CompareOwner, OwnerFencesCalls], 17, late(Late::Moves)),
        stale("16n", "FO, an old owner", &[OwnerFencesCalls], 15, late(Late::OldOwner)),
        // What no rule can prevent: section 1 excepts it.
        Scenario::breaks("16m", "one layer", &[], (NeverBackwards, 7), |rules| Edge { remembers: true, ..calm(rules) }),
    ]
}

pub(super) fn small() -> Vec<Scenario> {
    let both = Edge { tiers: 2, failovers: [ANY, ANY], crashes: ANY, ..calm(Rules::ALL) };
    vec![
        edge("edge", "L2 falls back, any number", Edge { failovers: [ANY, 0], crashes: ANY, ..calm(Rules::ALL) }),
        edge("edge: moves sent again", "any number", Edge { late: Late::Moves, ..late(Rules::ALL) }),
        edge("edge: old owners", "any number", late(Rules::ALL)),
        edge("edge: L1", "L1 falls back, any number", Edge { failovers: [0, ANY], ..both.clone() }),
        edge("edge: two layers", "any number", Edge { layers: 2, failovers: [ANY, 0], ..calm(Rules::ALL) }),
        edge("edge: both tiers", "any number", both),
    ]
}

/// A rule that another one makes up for, within these bounds.
pub(super) fn spared() -> Vec<Scenario> {
    let both = |rules| Edge { failovers: [1, 1], ..l1(rules) };
    let l2 = |rules| Edge { failovers: [ANY, 0], crashes: ANY, ..both(rules) };
    let one = |rules| Edge { tiers: 1, ..l2(rules) };
    let moves = |rules| Edge { late: Late::Moves, ..mishaps(rules) };
    vec![
        Scenario::spares("16o", "FO of L2, crashes", &[OwnerFencesCalls], NoStaleness.into(), one),
        Scenario::spares("16g", "both tiers: FO, a crash", &[LowerL3], NoStaleness.into(), both),
        Scenario::spares("16f", "two tiers, FO of L2, crashes", &[NoStore], NoStaleness.into(), l2),
        Scenario::spares("16g8", "FO, a crash, a move sent again", &[CompareForL3], NoStaleness.into(), moves),
    ]
}

pub(super) fn large() -> Vec<Scenario> {
    let both = |rules| Edge { tiers: 2, failovers: [ANY, ANY], crashes: ANY, ..calm(rules) };
    let late_too = Edge { late: Late::OldOwner, ..both(Rules::ALL) };
    vec![
        stale("16o", "both tiers: FO, crashes", &[OwnerFencesCalls], 25, both),
        Scenario::spares("16g", "both tiers: FO, crashes", &[LowerL3], NoStaleness.into(), both),
        edge("large: edge", "both tiers fall back, old owners", late_too),
        edge("large: edge, 3 changes", "L2 falls back, old owners", Edge { changes: 3, ..late(Rules::ALL) }),
        edge("large: edge, two layers", "both tiers fall back", Edge { layers: 2, ..both(Rules::ALL) }),
    ]
}

fn late(rules: Rules) -> Edge {
    Edge { failovers: [ANY, 0], crashes: ANY, late: Late::OldOwner, ..calm(rules) }
}

fn edge(id: &'static str, bounds: &str, model: Edge) -> Scenario {
    Scenario::holds(id, bounds, NoStaleness.into(), model)
}
