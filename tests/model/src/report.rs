//! What an engineer reads.

use crate::explore::{End, Explored};
use crate::scenarios::{Expected, Scenario};

/// A scenario's line.
pub fn line(scenario: &Scenario, explored: &Explored, seconds: f32) -> String {
    let verdict = match &explored.end {
        End::Holds => format!("HOLDS: {}", scenario.sought.letters()),
        End::Broken(promise, trace) => format!("({}) falls in {} steps", promise.letter(), trace.len()),
        End::TooLarge => "TOO LARGE for its memory".to_owned(),
    };
    let off = if scenario.off.is_empty() { String::new() } else { format!(" without {:?}", scenario.off) };
    format!(
        "{:<28} {:>10} states  depth {:>3}  {:>6.1} s  {verdict}{off} [{}]",
        scenario.id, explored.states, explored.depth, seconds, scenario.bounds
    )
}

/// A violation's trace, a step a line.
pub fn trace(explored: &Explored) -> String {
    let End::Broken(_, trace) = &explored.end else { return String::new() };
    trace.iter().enumerate().map(|(at, step)| format!("    {:>2}  {step}\n", at + 1)).collect()
}

/// Whether it came as it must.
pub fn is_as_expected(scenario: &Scenario, explored: &Explored) -> bool {
    match (&explored.end, scenario.expected) {
        (End::Holds, Expected::Holds) => true,
        (End::Broken(promise, trace), Expected::Breaks(expected, steps)) => {
            *promise == expected && trace.len() == steps
        }
        _ => false,
    }
}
