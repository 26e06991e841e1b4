//! Chapters 4 to 8 of the counterexamples: the gate, the fence, where a lane starts.

use super::Scenario;
use super::fills::{calm, evictions, failover};
use crate::history::{PRICE, STOCK, TEXT};
use crate::pipeline::{Mishaps, Pipeline};
use crate::promise::Promise::NoStaleness;
use crate::rules::Rule::{ActionVoidsLease, CompareFirst, Gate, GateEach, Hold, StartFromWatermark};

pub(super) fn broken() -> Vec<Scenario> {
    let mut all = gate();
    all.extend(fence());
    all
}

fn gate() -> Vec<Scenario> {
    vec![
        Scenario::breaks("5a", "P", &[Gate], (NoStaleness, 6), |rules| calm(&[PRICE], rules)),
        Scenario::breaks("5c", "P I, folded", &[GateEach], (NoStaleness, 8), |rules| Pipeline {
            fold_max: 2,
            ..calm(&[PRICE, STOCK], rules)
        }),
        Scenario::breaks("5d", "P, evict 1", &[Hold], (NoStaleness, 7), |rules| Pipeline {
            mishaps: evictions(1),
            ..calm(&[PRICE], rules)
        }),
    ]
}

fn fence() -> Vec<Scenario> {
    let pip = [PRICE, STOCK, PRICE];
    vec![
        Scenario::breaks("4c", "P I P, FO, a crash", &[StartFromWatermark], (NoStaleness, 16), |rules| Pipeline {
            mishaps: Mishaps { crashes: 1, ..failover() },
            ..calm(&pip, rules)
        }),
        Scenario::breaks("7a", "P I P, FO", &[CompareFirst], (NoStaleness, 17), |rules| Pipeline {
            mishaps: failover(),
            ..calm(&pip, rules)
        }),
        Scenario::breaks("8c", "text P, FO", &[CompareFirst], (NoStaleness, 13), |rules| Pipeline {
            mishaps: failover(),
            ..calm(&[TEXT, PRICE], rules)
        }),
        Scenario::breaks(
            "6e",
            "P P, an old owner, evict 1",
            &[CompareFirst, ActionVoidsLease],
            (NoStaleness, 11),
            |rules| Pipeline { mishaps: Mishaps { old_owners: 1, ..evictions(1) }, ..calm(&[PRICE, PRICE], rules) },
        ),
        Scenario::breaks("6c", "P I P, FO, an old owner", &[CompareFirst], (NoStaleness, 17), |rules| Pipeline {
            mishaps: Mishaps { old_owners: 1, ..failover() },
            ..calm(&pip, rules)
        }),
    ]
}
