//! What all roles cost where nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::chain::Chain;
use crate::bench::usage::{Account, coarse_cpu_seconds};
use crate::demo::output::Output;
use crate::demo::ready;
use crate::demo::roles::Role;
use crate::demo::servers::{Servers, http_client};

/// What a start leaves to be done has been done by then: last of all, clients go that have published lag offsets.
const SETTLE: Duration = Duration::from_secs(40);

/// Starts the roles that do not run yet, lets them settle, and looks at their accounts before and after.
pub(super) async fn run(chain: &Chain, servers: &Servers, lasts: Duration, output: &Output) -> Result<Value> {
    let engine = chain.launch(Role::Engine).await?;
    let gateway = chain.launch(Role::Gateway).await?;
    let forecast = chain.launch(Role::Forecast).await?;
    ready::answering(&http_client()?, &servers.gateway_url).await.with_context(|| gateway.last_lines())?;
    tokio::time::sleep(SETTLE).await;
    let roles = [
        (Role::Ingest, &chain.ingest),
        (Role::Engine, &engine),
        (Role::Gateway, &gateway),
        (Role::Forecast, &forecast),
    ];
    let pids = roles.each_ref().map(|(_, process)| process.pid().to_string());
    let coarse = || pids.iter().map(|pid| coarse_cpu_seconds(pid)).sum::<Result<f64>>();
    let accounts = pids.iter().map(|pid| Account::of(pid)).collect::<Result<Vec<_>>>()?;
    let (coarse_before, began) = (coarse()?, Instant::now());
    tokio::time::sleep(lasts).await;
    let spent = accounts.iter().map(Account::seconds_since).collect::<Result<Vec<f64>>>()?;
    let seconds = began.elapsed().as_secs_f64();
    let with_ended = (coarse()? - coarse_before) * 100.0 / seconds;
    let percent: Vec<f64> = spent.iter().map(|spent| spent * 100.0 / seconds).collect();
    let all: f64 = percent.iter().sum();
    output.line("");
    output.line(format!(
        "idle for {seconds:.0} s: {all:.2} % of a core by all roles; {with_ended:.2} % in hundredths of a second, with threads \
         that have ended"
    ));
    let mut object = serde_json::Map::new();
    for ((role, _), percent) in roles.iter().zip(&percent) {
        output.line(format!("{:<20}{percent:.2} %", role.name()));
        object.insert(role.name().to_owned(), json!(percent));
    }
    Ok(json!({"all_percent": all, "with_ended_percent": with_ended, "roles_percent": object}))
}
