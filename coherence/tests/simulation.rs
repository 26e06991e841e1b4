//! The real engine core under thousands of schedules: readers, writers, eviction, crash, redelivery, two owners,
//! fail-overs that forget, nodes that take no writes, slots on the move, truncates, new epochs, slow and lost answers.
//! Tiers are the in-memory twin; database, log and edge are fakes. After each step the promises of docs/protocol.md, section 1, are looked at.
//!
//! `LOCKSTEP_SIMULATION_SEED=7` plays one schedule; `LOCKSTEP_SIMULATION_SECONDS=3600` plays for as long.

#![expect(clippy::print_stdout, reason = "a schedule is printed for whoever looks into it")]

mod simulation {
    pub mod checks;
    pub mod edge;
    pub mod engine;
    pub mod mistake;
    pub mod readers;
    mod rest;
    pub mod script;
    mod serving;
    pub mod shop;
    pub mod tiers;
    mod turns;
    pub mod world;
}

use std::time::{Duration, Instant};

use lockstep_coherence::core::rule::Rule;
use simulation::mistake::Mistake;
use simulation::script;
use simulation::world::{Without, World};

const SECONDS: u64 = 40;
/// Schedules in which a mistake must show.
const SCHEDULES_MAX: u64 = 100_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

#[test]
fn promises_hold_under_thousands_of_schedules() {
    if let Some(seed) = number("LOCKSTEP_SIMULATION_SEED") {
        World::play(seed, Without::default()).unwrap_or_else(|broken| panic!("{broken:?}"));
        return;
    }
    let lasts = Duration::from_secs(number("LOCKSTEP_SIMULATION_SECONDS").unwrap_or(SECONDS));
    let (began, first) = (Instant::now(), fastrand::u64(..u64::MAX / 2));
    let mut seed = first;
    while began.elapsed() < lasts || seed - first < 1_000 {
        World::play(seed, Without::default()).unwrap_or_else(|broken| panic!("{broken:?}"));
        seed += 1;
    }
    println!("{} schedules, from seed {first}", seed - first);
}

#[test]
fn progress_of_a_deposed_primary_moves_nothing() {
    let play = |rule| script::progress_of_a_deposed_primary(Without { rule, mistake: None });
    assert_eq!(play(None), Ok(()));
    let broken = play(Some(Rule::ProgressOfEpoch)).expect_err("a stale fill from the deposed primary");
    assert!(broken.starts_with("(w)"), "{broken}");
}

#[test]
fn a_backlogs_last_record_is_applied() {
    let play = |mistake| script::a_backlogs_last_record(Without { rule: None, mistake });
    assert_eq!(play(None), Ok(()));
    let broken = play(Some(Mistake::RoundsEndUnsaid)).expect_err("it waits for the next change");
    assert!(broken.starts_with("it does not come to rest"), "{broken}");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let play = || World::play(seed, Without::default()).map_err(|broken| format!("{broken:?}"));
        assert_eq!(play(), play());
    }
    let traces: std::collections::HashSet<_> =
        (0..20).map(|seed| World::play(seed, Without::default()).expect("a sound schedule")).collect();
    assert_eq!(traces.len(), 20, "each seed is a schedule of its own");
}

/// Each mistake, and a schedule in which it shows.
fn mistakes() -> Vec<(Without, u64)> {
    let rules = [
        (Rule::GateEach, 34),
        (Rule::LandedIsOurs, 16),
        (Rule::ForgotGoesBack, 59),
        (Rule::StartFromTier, 11),
        (Rule::FloorOnUnknown, 5),
        (Rule::FloorOnControl, 301),
        (Rule::OffsetOfEpoch, 3),
        (Rule::EpochAnnounced, 616),
        (Rule::ConsumedFirst, 14),
        (Rule::LowerL3, 5),
        (Rule::ProbeByWrite, 11),
    ];
    let around = [
        (Mistake::NoGate, 30),
        (Mistake::NoFence, 1_259),
        (Mistake::MarkersStay, 612),
        (Mistake::LeaseStays, 1),
        (Mistake::ClaimedAfterRead, 78),
        (Mistake::HighBefore, 837),
        (Mistake::LowAfter, 0),
        (Mistake::AnySource, 1_740),
        (Mistake::AnyTimeline, 138),
        (Mistake::Unsettled, 1),
        (Mistake::WatermarkFirst, 181),
    ];
    let rules = rules.map(|(rule, seed)| (Without { rule: Some(rule), mistake: None }, seed));
    let around = around.map(|(mistake, seed)| (Without { rule: None, mistake: Some(mistake) }, seed));
    rules.into_iter().chain(around).collect()
}

/// Rules that another one makes up for are not here: `no-store`, an owner's name. The checked model shows them, over more
/// mishaps than schedules meet by chance. Where a change of the simulation has moved a mistake to another schedule, it is searched for, which
/// takes a while: `LOCKSTEP_SIMULATION_MISTAKE=OneRound` searches for one alone.
#[test]
fn every_mistake_shows() {
    show(mistakes());
}

/// One that few schedules bring about; the checked model shows it in seconds.
#[test]
#[ignore = "searches for minutes"]
fn rare_mistakes_show() {
    show(vec![(Without { rule: None, mistake: Some(Mistake::OneRound) }, 0)]);
}

fn show(mistakes: Vec<(Without, u64)>) {
    let only = std::env::var("LOCKSTEP_SIMULATION_MISTAKE").ok();
    let mut unnoticed = Vec::new();
    for (without, seed) in mistakes {
        if only.as_ref().is_some_and(|only| !format!("{without:?}").contains(only)) {
            continue;
        }
        let schedules = (seed..=seed).chain(0..SCHEDULES_MAX);
        match schedules.into_iter().find_map(|seed| World::play(seed, without).err()) {
            Some(broken) => println!("{without:?}: schedule {}, step {}: {}", broken.seed, broken.step, broken.what),
            None => unnoticed.push(without),
        }
    }
    assert!(unnoticed.is_empty(), "nothing showed: {unnoticed:?}");
}
