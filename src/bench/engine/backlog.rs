//! A backlog: changes that lie in Kafka, and an engine that starts where the tiers stand. Beside it, `pg_recvlogical` reads
//! the same changes.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::chain::{Chain, Reached, SLOT, WAIT_MAX};
use crate::bench::table::spread;
use crate::bench::{pg_recvlogical, usage};
use crate::demo::output::{Output, thousands};
use crate::demo::roles::Role;
use crate::demo::roles::process::RoleProcess;

/// One round.
pub(super) struct Drained {
    reference_seconds: f64,
    /// From the engine's start until a watermark moved.
    start_seconds: f64,
    /// From then until both tiers were at the end.
    pub seconds: f64,
    cpu_seconds: f64,
    rss_mb_max: f64,
}

/// Writes a backlog, and drains it by both.
pub(super) async fn round(chain: &Chain, changes: u32) -> Result<Drained> {
    let end = chain.change(changes).await?;
    let (began, ends) = (Instant::now(), chain.ends().await?);
    let output = pg_recvlogical::command(&chain.database_url, SLOT, "lockstep", &end).output().await?;
    let reference_seconds = began.elapsed().as_secs_f64();
    ensure!(output.status.success(), "pg_recvlogical says: {}", String::from_utf8_lossy(&output.stderr));
    let before = chain.reached().await?.context("watermarks")?;
    let mut engine = chain.launch(Role::Engine).await?;
    let drained = tokio::time::timeout(WAIT_MAX, drain(chain, &engine, &before, &ends)).await;
    let (start_seconds, seconds) =
        drained.context("it takes too long").flatten().with_context(|| engine.last_lines())?;
    let cpu_seconds = usage::cpu_seconds(&engine.pid().to_string())?;
    let rss_mb_max = usage::rss_mb_max(engine.pid()).context("the engine has gone")?;
    engine.kill().await;
    Ok(Drained { reference_seconds, start_seconds, seconds, cpu_seconds, rss_mb_max })
}

/// How long until something moved, and from then until the end.
pub(super) async fn drain(chain: &Chain, engine: &RoleProcess, before: &Reached, ends: &[i64]) -> Result<(f64, f64)> {
    let (began, mut moved) = (Instant::now(), None);
    loop {
        let Some(now) = chain.reached().await? else { continue };
        if moved.is_none() && now != *before {
            moved = Some(Instant::now());
        }
        if now.offsets.chunks(ends.len()).all(|tier| tier.iter().zip(ends).all(|(offset, end)| offset >= end)) {
            ensure!(now.dropped == before.dropped, "entries were dropped: {}", engine.last_lines());
            let moved = moved.context("nothing was left to be done")?;
            return Ok(((moved - began).as_secs_f64(), moved.elapsed().as_secs_f64()));
        }
    }
}

/// Prints all rounds.
pub(super) fn print(changes: u32, rounds: &[Drained], output: &Output) -> Value {
    let of = |figure: &dyn Fn(&Drained) -> f64| spread(rounds.iter().map(figure));
    let rows = f64::from(changes);
    let reference = of(&|drained| rows / drained.reference_seconds);
    let engine = of(&|drained| rows / drained.seconds);
    let ratio = of(&|drained| drained.reference_seconds / drained.seconds);
    let cpu = of(&|drained| drained.cpu_seconds * 1e6 / rows);
    let (start, rss) = (of(&|drained| drained.start_seconds), of(&|drained| drained.rss_mb_max));
    let changes = thousands(changes.into());
    output.line("");
    output.line(format!(
        "a backlog of {changes} changes, both tiers, {} rounds; median (least to greatest)",
        rounds.len()
    ));
    let shown = |[median, least, greatest]: [f64; 3]| format!("{median:.2} ({least:.2}-{greatest:.2})");
    let rate = |rates: [f64; 3]| {
        let [median, least, greatest] = rates.map(|rate| thousands(rate as u64));
        format!("{median} ({least}-{greatest})")
    };
    output.line(format!("pg_recvlogical      {} rows/s", rate(reference)));
    output.line(format!("engine              {} rows/s, {} of pg_recvlogical", rate(engine), shown(ratio)));
    output.line(format!("engine's CPU        {} us/row", shown(cpu)));
    output.line(format!("engine's memory     {} MB at most", shown(rss)));
    output.line(format!("first row after     {} s", shown(start)));
    json!({"changes": rows, "pg_recvlogical_rows_per_s": reference, "engine_rows_per_s": engine, "rate_ratio": ratio,
           "cpu_us_per_row": cpu, "rss_mb_max": rss, "first_row_after_s": start})
}
