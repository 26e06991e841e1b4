//! Chapters 7, 13 and e, and where a lane starts: slots that move, epochs, floors, progress.

use super::{Expected, Scenario};
use crate::beginnings::Beginnings;
use crate::epochs::Epochs;
use crate::history::{History, PRICE, STOCK};
use crate::promise::Promise::{NoStaleness, Progress, Watermark};
use crate::promise::Promises;
use crate::rules::Rule::{
    EndBeforeMoment, EngineTakesLease, FloorAtEpoch, FloorOnFills, GateEpochEvent, SettledMoment, TimelineOnFills,
    UnknownRaises, WatermarkInSlot,
};
use crate::rules::{Rule, Rules};
use crate::slots::Slots;
use crate::starvation;

pub(super) fn broken() -> Vec<Scenario> {
    let starved = move |off: &[Rule]| {
        let rules = Rules::ALL.without(off);
        let expected = Expected::Breaks(Progress, 4);
        Scenario::by("e1", "one key", off, Progress.into(), expected, move |_, _| starvation::explore(rules))
    };
    vec![
        Scenario::breaks("70", "P P", &[WatermarkInSlot], (NoStaleness, 11), |rules| slots(rules, 2)),
        Scenario::breaks("13a", "old 1, new 0", &[FloorAtEpoch], (NoStaleness, 8), |rules| {
            Epochs::new(rules, 1, 0, false)
        }),
        Scenario::breaks("13e", "old 1, new 1, split brain", &[TimelineOnFills], (NoStaleness, 9), |rules| {
            Epochs::new(rules, 1, 1, true)
        }),
        Scenario::breaks("13j", "old 0, new 1", &[GateEpochEvent], (NoStaleness, 9), |rules| {
            Epochs::new(rules, 0, 1, false)
        }),
        Scenario::breaks("7 settled", "P", &[SettledMoment], (NoStaleness, 8), |rules| beginnings(rules, 1)),
        Scenario::breaks("7 end", "P", &[EndBeforeMoment], (NoStaleness, 8), |rules| beginnings(rules, 1)),
        Scenario::breaks("7 floor", "P I", &[UnknownRaises], (Watermark, 7), |rules| beginnings(rules, 2)),
        starved(&[EngineTakesLease]),
    ]
}

/// What lies below the floor is dead, also where a fill has just written it there.
pub(super) fn spared() -> Vec<Scenario> {
    let epochs = |rules| Epochs::new(rules, 3, 2, false);
    vec![Scenario::spares("13c", "old 3, new 2", &[FloorOnFills], NoStaleness.into(), epochs)]
}

pub(super) fn small() -> Vec<Scenario> {
    let opening = Promises::from(NoStaleness) | Watermark.into();
    let progress = |_, _| starvation::explore(Rules::ALL);
    vec![
        epochs("epochs", "old 3, new 3", Epochs::new(Rules::ALL, 3, 3, false)),
        epochs("epochs: split brain", "old 3, new 3", Epochs::new(Rules::ALL, 3, 3, true)),
        Scenario::holds("slots", "P I P", NoStaleness.into(), slots(Rules::ALL, 3)),
        Scenario::holds("beginnings", "P I P", opening, beginnings(Rules::ALL, 3)),
        Scenario::by("progress", "one key", &[], Progress.into(), Expected::Holds, progress),
    ]
}

pub(super) fn large() -> Vec<Scenario> {
    let opening = Promises::from(NoStaleness) | Watermark.into();
    vec![
        epochs("large: epochs", "old 4, new 3, split brain", Epochs::new(Rules::ALL, 4, 3, true)),
        Scenario::holds("large: beginnings", "P I P I", opening, beginnings(Rules::ALL, 4)),
    ]
}

fn epochs(id: &'static str, bounds: &str, model: Epochs) -> Scenario {
    Scenario::holds(id, bounds, NoStaleness.into(), model)
}

fn history(commits: usize) -> History {
    let alternating: Vec<_> = [PRICE, STOCK].into_iter().cycle().take(commits).collect();
    History::new(&alternating)
}

fn slots(rules: Rules, commits: usize) -> Slots {
    Slots { rules, history: history(commits) }
}

fn beginnings(rules: Rules, commits: usize) -> Beginnings {
    Beginnings { rules, history: history(commits) }
}
