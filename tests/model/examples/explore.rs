//! Explores the scenarios whose ids begin with the given words, and prints what came of them:
//! `cargo run --workspace --example explore -- 3a 'two tiers'`.

use std::io::Write;
use std::time::Instant;

use lockstep_model::explore::Limits;
use lockstep_model::{report, scenarios};

const LIMITS: Limits = Limits { bytes_max: 6 << 30, threads: 2 };

fn main() -> std::io::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    for scenario in scenarios::all() {
        if !wanted.iter().any(|id| scenario.id.starts_with(id.as_str())) {
            continue;
        }
        let started = Instant::now();
        let explored = scenario.explore(LIMITS);
        writeln!(out, "{}", report::line(&scenario, &explored, started.elapsed().as_secs_f32()))?;
        write!(out, "{}", report::trace(&explored))?;
    }
    Ok(())
}
