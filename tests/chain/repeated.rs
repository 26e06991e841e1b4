//! Ingest dies between what Kafka has and what PostgreSQL has heard of: a stretch of the log comes twice.

use lockstep_process::Metrics;

use crate::chain::{Chain, until};
use crate::compare::{columns_of, entries};
use crate::starts::end_of;

const CHANGES_MAX: i64 = 20;
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
    let (began, mut changes) = (end_of(chain, "catalogue"), 0);
    let repeated = loop {
        assert!(changes < CHANGES_MAX, "ingest had always been heard when it died");
        changes += 1;
        chain.execute(&format!("UPDATE prices SET price_pence = 9{changes} WHERE product_id = 'P-3'")).await;
        // In Kafka, and in the tiers; PostgreSQL and the checkpoint are told twice a second.
        chain.applied().await;
        chain.ingest.take().expect("an ingest").crash().await;
        chain.ingest = Some(chain.setting.ingest());
        changes += 1;
        chain.execute(&format!("UPDATE prices SET price_pence = 9{changes} WHERE product_id = 'P-3'")).await;
        chain.applied().await;
        // Each of the changes is one record.
        let repeated = end_of(chain, "catalogue") - began - changes;
        if repeated > 0 {
            break repeated;
        }
    };
    until("the engine to have counted them", async || (counted(&metrics) > 0).then_some(())).await;
    assert_eq!(counted(&metrics), repeated as u64);
    // Each of the changes refreshed the entry once, and those that came again none.
    let [after, ..] = chain.marks().await;
    let refreshed = after.expect("a watermark").refreshed - before.expect("a watermark").refreshed;
    assert_eq!(refreshed, changes as u64, "what came again was applied again");
    let found = entries(chain).await;
    assert_eq!(columns_of(&found.l2["product:all:P-3"])["price_pence"], format!("9{changes}"));
}
