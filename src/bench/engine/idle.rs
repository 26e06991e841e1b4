//! What all roles cost where nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::chain::Chain;
use crate::bench::usage::Account;
use crate::demo::output::Output;
use crate::demo::ready;
use crate::demo::roles::Role;
use crate::demo::servers::{Servers, http_client};

/// What a start leaves to be done has been done by then.
const SETTLE: Duration = Duration::from_secs(8);

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
    let accounts = roles.iter().map(|(_, process)| Account::of(&process.pid().to_string()));
    let (before, began) = (accounts.collect::<Result<Vec<_>>>()?, Instant::now());
    tokio::time::sleep(lasts).await;
    let spent = before.iter().map(Account::seconds_since).collect::<Result<Vec<f64>>>()?;
    let seconds = began.elapsed().as_secs_f64();
    let percent: Vec<f64> = spent.iter().map(|spent| spent * 100.0 / seconds).collect();
    let all: f64 = percent.iter().sum();
    output.line("");
    output.line(format!("idle for {seconds:.0} s: {all:.2} % of a core by all roles"));
    let mut object = serde_json::Map::new();
    for ((role, _), percent) in roles.iter().zip(&percent) {
        output.line(format!("{:<20}{percent:.2} %", role.name()));
        object.insert(role.name().to_owned(), json!(percent));
    }
    Ok(json!({"all_percent": all, "roles_percent": object}))
}
