//! Explores the protocol's models. The small bounds take less than a minute; the large ones minutes and gigabytes.

#![allow(clippy::print_stdout, reason = "a table for who reads the tests' output")]

use std::time::Instant;

use lockstep_model::explore::Limits;
use lockstep_model::report;
use lockstep_model::scenarios::{self, Scenario};

const SMALL: Limits = Limits { bytes_max: 1 << 30, threads: 1 };
const LARGE: Limits = Limits { bytes_max: 6 << 30, threads: 2 };

#[test]
fn without_a_rule_a_promise_falls() {
    insist(&scenarios::without_a_rule(), SMALL);
}

#[test]
fn some_rules_make_up_for_others() {
    insist(&scenarios::with_a_rule_to_spare(), SMALL);
}

#[test]
fn with_all_rules_every_promise_holds() {
    insist(&scenarios::with_all_rules(), SMALL);
}

#[test]
#[ignore = "model_large: minutes, and gigabytes"]
fn at_large_bounds_it_is_the_same() {
    insist(&scenarios::at_large_bounds(), LARGE);
}

/// Explores them one after the other, and prints them all before it fails.
fn insist(scenarios: &[Scenario], limits: Limits) {
    let mut unexpected = Vec::new();
    for scenario in scenarios {
        let began = Instant::now();
        let explored = scenario.explore(limits);
        let line = report::line(scenario, &explored, began.elapsed().as_secs_f32());
        println!("{line}");
        if !report::is_as_expected(scenario, &explored) {
            let trace = report::trace(&explored);
            println!("    expected {:?}\n{trace}", scenario.expected);
            unexpected.push(line);
        }
    }
    assert!(unexpected.is_empty(), "not as expected:\n{}", unexpected.join("\n"));
}
