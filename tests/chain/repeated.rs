//! Ingest dies between what Kafka has and what PostgreSQL has heard of: a stretch of the log comes twice.

use lockstep_process::Metrics;

use crate::chain::{Chain, until};
use crate::compare::{columns_of, entries};
use crate::starts::end_of;

const CHANGES: i64 = 1_200;
/// Ingest dies when so many of them are in the log.
const DIES_AT: i64 = 100;
const COUNTER: &str = "lockstep_engine_records_repeated_total ";

fn counted(metrics: &Metrics) -> u64 {
    let text = metrics.text();
    let value = text.lines().find_map(|line| line.strip_prefix(COUNTER));
    value.unwrap_or_else(|| panic!("no counter in {text}")).parse().expect("a number")
}

pub async fn records_that_come_twice_are_counted_and_passed_over(chain: &mut Chain) {
    chain.engine.take().expect("an engine").stop().await;
    let metrics = Metrics::default();
    chain.engine = Some(chain.setting.engine_counting(metrics.clone()));
    let [before, ..] = chain.marks().await;
    let began = end_of(chain, "catalogue");
    let pool = chain.pool.clone();
    let writer = tokio::spawn(async move {
        for price in 1..=CHANGES {
            let sql = sqlx::query("UPDATE prices SET price_pence = $1 WHERE product_id = 'P-3'").bind(price as i32);
            sql.execute(&pool).await.expect("a change");
        }
    });
    // PostgreSQL and the checkpoint are told twice a second how far Kafka has come; the log moves on all the time.
    until("a part to be in the log", async || (end_of(chain, "catalogue") >= began + DIES_AT).then_some(())).await;
    chain.ingest.take().expect("an ingest").crash().await;
    chain.ingest = Some(chain.setting.ingest());
    writer.await.expect("no panic");
    chain.applied().await;
    // Each of the changes is one record, and a second one where it came twice.
    let repeated = end_of(chain, "catalogue") - began - CHANGES;
    assert!(repeated > 0, "nothing came twice");
    until("the engine to have counted them", async || (counted(&metrics) > 0).then_some(())).await;
    assert_eq!(counted(&metrics), repeated as u64);
    // Neighbours are folded, so there are fewer refreshes than changes; what comes again adds none.
    let [after, ..] = chain.marks().await;
    let (before, after) = (before.expect("a watermark"), after.expect("a watermark"));
    assert!(after.refreshed - before.refreshed <= CHANGES as u64, "{} refreshes", after.refreshed - before.refreshed);
    assert_eq!(after.floor, before.floor, "passed over, and nothing else");
    let found = entries(chain).await;
    assert_eq!(columns_of(&found.l2["product:all:P-3"])["price_pence"], CHANGES.to_string());
}
