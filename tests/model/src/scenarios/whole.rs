//! All rules on: nothing may be found.

use super::Scenario;
use super::fills::calm;
use crate::history::{BOTH, Commit, DELETE, History, INSERT, OTHER, PRICE, STOCK, TEXT};
use crate::pipeline::{ANY, Mishaps, Pipeline};
use crate::promise::Promises;
use crate::rules::Rules;

/// Without fail-overs, every promise; with one, what can survive it.
fn pipeline(id: &'static str, bounds: &str, model: Pipeline) -> Scenario {
    let forgets = model.mishaps.failovers != [0, 0];
    let sought = match (forgets, model.tiers) {
        (true, _) => Promises::LASTING,
        (false, 1) => Promises::ONE_TIER,
        (false, _) => Promises::TWO_TIERS,
    };
    Scenario::holds(id, bounds, sought, Pipeline { remembers: !forgets, ..model })
}

/// One tier, two readers; evictions, crashes as often as they may be.
fn one(commits: &[Commit]) -> Pipeline {
    let mishaps = Mishaps { evictions: ANY, crashes: ANY, ..Mishaps::default() };
    Pipeline { readers: 2, mishaps, ..calm(commits, Rules::ALL) }
}

fn two(commits: &[Commit]) -> Pipeline {
    Pipeline { tiers: 2, ..one(commits) }
}

fn with(model: Pipeline, change: impl FnOnce(&mut Mishaps)) -> Pipeline {
    let mut mishaps = model.mishaps;
    change(&mut mishaps);
    Pipeline { mishaps, ..model }
}

fn both_fail(commits: &[Commit]) -> Pipeline {
    with(two(commits), |all| all.failovers = [ANY, ANY])
}

/// Every mishap, as often as it may be.
fn all_mishaps(model: Pipeline) -> Pipeline {
    let failovers = if model.tiers == 2 { [ANY, ANY] } else { [ANY, 0] };
    with(model, |all| (all.failovers, all.old_owners, all.fills_twice) = (failovers, ANY, ANY))
}

pub(super) fn small() -> Vec<Scenario> {
    let mut all = one_tier();
    all.extend(two_tiers());
    all
}

fn one_tier() -> Vec<Scenario> {
    let pip = [PRICE, STOCK, PRICE];
    let absent = Pipeline { history: History::from_absence(&[INSERT, STOCK, DELETE]), ..one(&[]) };
    let old_owners = with(one(&pip), |all| all.old_owners = ANY);
    let twice = with(one(&pip), |all| all.fills_twice = ANY);
    vec![
        pipeline("one tier", "P I P, folded", Pipeline { fold_max: 3, ..one(&pip) }),
        pipeline("one tier: absence", "insert P, I, delete P", absent.clone()),
        pipeline("one tier: absence, mishaps", "insert P, I, delete P", all_mishaps(absent)),
        pipeline("one tier: unknown columns", "text P text", one(&[TEXT, PRICE, TEXT])),
        pipeline("one tier: unknown, mishaps", "text P I", all_mishaps(one(&[TEXT, PRICE, STOCK]))),
        pipeline("one tier: others", "P other P-and-I", one(&[PRICE, OTHER, BOTH])),
        pipeline("one tier: fills twice", "P I P", twice),
        pipeline("one tier: old owners", "P I P, folded", Pipeline { fold_max: 3, ..old_owners }),
        pipeline(
            "one tier: fail-overs",
            "P I P I",
            with(one(&[PRICE, STOCK, PRICE, STOCK]), |all| all.failovers = [ANY, 0]),
        ),
        pipeline("one tier: all mishaps", "P I P, folded", all_mishaps(Pipeline { fold_max: 3, ..one(&pip) })),
    ]
}

fn two_tiers() -> Vec<Scenario> {
    let (pi, pip) = ([PRICE, STOCK], [PRICE, STOCK, PRICE]);
    vec![
        pipeline("two tiers", "P I P", two(&pip)),
        pipeline("two tiers: old owners", "P I P", with(two(&pip), |all| all.old_owners = ANY)),
        pipeline("two tiers: L2 fails over", "P I", with(two(&pi), |all| all.failovers = [ANY, 0])),
        pipeline("two tiers: L1 fails over", "P I", with(two(&pi), |all| all.failovers = [0, ANY])),
        pipeline("two tiers: both fail over", "P I, one reader", Pipeline { readers: 1, ..both_fail(&pi) }),
    ]
}

pub(super) fn large() -> Vec<Scenario> {
    let (pi, pip, four) = ([PRICE, STOCK], [PRICE, STOCK, PRICE], [PRICE, STOCK, PRICE, STOCK]);
    let forgets = |failovers| {
        let change = |all: &mut Mishaps| (all.failovers, all.old_owners, all.fills_twice) = (failovers, ANY, ANY);
        with(two(&pi), change)
    };
    vec![
        pipeline("large: one tier", "P I P I, all mishaps", all_mishaps(one(&four))),
        pipeline("large: two tiers", "P I P I", two(&four)),
        pipeline("large: two tiers, FO of L2", "P I P", with(two(&pip), |all| all.failovers = [ANY, 0])),
        pipeline("large: two tiers, FO of L1", "P I P", with(two(&pip), |all| all.failovers = [0, ANY])),
        pipeline("large: two tiers, both FO", "P I", both_fail(&pi)),
        pipeline("large: L2, old owners", "P I, fills twice", forgets([ANY, 0])),
        pipeline("large: L1, old owners", "P I, fills twice", forgets([0, ANY])),
    ]
}
