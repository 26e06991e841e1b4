//! Chapter 15 of the counterexamples: stamps, for the tags lane that is not built yet.

use super::Scenario;
use crate::promise::Promise::{NeverBackwards, NoStaleness};
use crate::promise::Promises;
use crate::rules::Rule::{Gate, MissingIsNotEqual, PublishBeforeL2, RandomStamp, StampsFirst, StartFromWatermark};
use crate::rules::{Rule, Rules};
use crate::stamps::{ANY, Stamps};

const BOTH: u8 = 0b11;
const TAG_0: u8 = 0b01;

/// Two changes: of both tags, of tag 0. No mishap.
fn calm(rules: Rules) -> Stamps {
    Stamps { rules, changes: vec![BOTH, TAG_0], evictions: 0, stamps_evicted: 0, crashes: 0, failovers: 0 }
}

fn stale(id: &'static str, bounds: &str, off: &[Rule], steps: usize, model: impl FnOnce(Rules) -> Stamps) -> Scenario {
    Scenario::breaks(id, bounds, off, (NoStaleness, steps), model)
}

pub(super) fn broken() -> Vec<Scenario> {
    let crash = |rules| Stamps { crashes: 1, ..calm(rules) };
    let once = |rules| Stamps { changes: vec![TAG_0], stamps_evicted: 1, ..calm(rules) };
    let forgets = |rules| Stamps { failovers: 1, crashes: 1, ..calm(rules) };
    vec![
        stale("15k", "B T0, a crash", &[PublishBeforeL2], 16, crash),
        stale("15l", "B T0", &[StampsFirst], 17, calm),
        stale("15m", "B T0", &[MissingIsNotEqual], 17, calm),
        stale("15p", "T0, a stamp evicted", &[RandomStamp], 11, once),
        stale("15r", "B T0, FO, a crash", &[StartFromWatermark], 22, forgets),
        stale("15s", "B T0", &[Gate], 17, calm),
    ]
}

/// A stamp that comes back with a node shows what it once stood for: (b) is lost with any fail-over.
fn tagged(id: &'static str, bounds: &str, model: Stamps) -> Scenario {
    let sought = Promises::from(NoStaleness).with(NeverBackwards, model.failovers == 0);
    Scenario::holds(id, bounds, sought, model)
}

pub(super) fn small() -> Vec<Scenario> {
    let rules = Rules::ALL;
    let crashes = Stamps { evictions: 1, crashes: 1, ..calm(rules) };
    vec![
        tagged("stamps", "B T0, evict 1, a crash", crashes.clone()),
        tagged("stamps: evicted", "B T0, any number", Stamps { stamps_evicted: ANY, ..calm(rules) }),
        tagged("stamps: FO", "B T0, tag 0 falls back", Stamps { failovers: 1, ..calm(rules) }),
    ]
}

pub(super) fn large() -> Vec<Scenario> {
    let rules = Rules::ALL;
    let evicted = Stamps { stamps_evicted: ANY, failovers: 1, ..calm(rules) };
    let crashes = Stamps { crashes: 1, failovers: 1, ..calm(rules) };
    vec![
        tagged("large: stamps evicted, FO", "B T0, any number of evictions", evicted),
        tagged("large: stamps, FO, a crash", "B T0", crashes),
    ]
}
