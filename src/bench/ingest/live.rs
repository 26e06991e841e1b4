//! From commit to Kafka under a steady flow of small transactions, beside the time that the same bytes take from a producer
//! like ingest's through the same broker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::drain::Drains;
use crate::bench::broker::BrokerWatch;
use crate::bench::table;
use crate::demo::output::Output;
use crate::demo::prober::Latencies;
use crate::demo::servers::Servers;
use crate::demo::shop::pace::Pace;

const WRITERS: u64 = 8;
const ROWS: u64 = 1_000;
/// Beforehand, not counted: the broker's code for requests of one record is compiled while it runs.
const WARM_UP: Duration = Duration::from_secs(10);

/// Runs ingest while rows change at the given rate, and prints both distributions.
pub(super) async fn live(
    servers: &Servers,
    drains: &Drains,
    (rate, lasts): (u32, Duration),
    output: &Output,
) -> Result<serde_json::Value> {
    let pool = PgPoolOptions::new().max_connections(WRITERS as u32).connect(&servers.database_url).await?;
    let ingest = drains.start("bench_live").await.context("start ingest")?;
    let latencies = Arc::new(Latencies::counting_from(Instant::now() + WARM_UP)?);
    let watch = BrokerWatch::start(&servers.kafka, Arc::clone(&latencies)).await.context("watch the broker")?;
    let pace = Arc::new(Pace::start(rate, WARM_UP + lasts));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(writer, pool.clone(), Arc::clone(&pace), Arc::clone(&latencies)));
    }
    while let Some(written) = writers.join_next().await {
        written.context("a writer panicked")??;
    }
    let (changes, wrote_for) = (pace.changes(), pace.elapsed());
    let measured = watch.stop().await?;
    drains.stop(ingest).await?;
    let rate = changes as f64 / wrote_for.as_secs_f64();
    let title = format!("commit to Kafka, ms, at {rate:.0} transactions/s of one row, synchronous_commit = on");
    let rows = [
        ("reference", &measured.reference),
        ("commit to ingest", &measured.commit_to_ingest),
        ("commit to Kafka", &measured.commit_to_kafka),
    ];
    Ok(json!({"transactions_per_s": rate, "ms": table::print(output, &title, &rows)}))
}

async fn write(writer: u64, pool: PgPool, pace: Arc<Pace>, latencies: Arc<Latencies>) -> Result<()> {
    let mut connection = pool.acquire().await?;
    let mut number = writer;
    while pace.due(1).await {
        // Each writer has rows of its own, so that none waits for another.
        let update = sqlx::query("UPDATE bench_products SET name = $1 WHERE product_id = $2");
        let product = (1 + writer + WRITERS * (number / WRITERS % (ROWS / WRITERS))) as i32;
        update.bind(format!("probe {number}")).bind(product).execute(&mut *connection).await?;
        latencies.committed(number)?;
        pace.committed(1, 1);
        number += WRITERS;
    }
    Ok(())
}
