//! Columns that are not critical: their changes wait for a pass, and every tier has them after it.

use std::time::Duration;

use lockstep_process::Metrics;
use lockstep_schemas::policy::DEFAULT;

use crate::chain::{Chain, until};
use crate::compare::entries;
use crate::policies::follow;

/// Far beyond a test's patience, and then hardly anything.
const LONG: &str = "24h";
const SHORT: &str = "1s";
const DROPPED: &str = "lockstep_engine_deferred_entities_total ";

/// Descriptions wait in every tier but the edge, which shows what it is given.
fn policy(wait: &str) -> String {
    let columns = "columns = [\"product_id\", \"name\", \"description\", \"category\", \"active\"]";
    let text = DEFAULT.replacen(columns, &format!("{columns}\ndeferred = [\"description\"]"), 2);
    let waits = |text: String, ttl: &str| text.replacen(ttl, &format!("{ttl}\ndeferred = \"{wait}\""), 1);
    waits(waits(text, "ttl = \"2h\""), "ttl = \"15m\"")
}

fn dropped(metrics: &Metrics) -> u64 {
    let text = metrics.text();
    // An engine that has just been started counts nothing yet.
    text.lines().find_map(|line| line.strip_prefix(DROPPED)).map_or(0, |value| value.parse().expect("a number"))
}

/// The description as each tier has it; `None`: there is no entry.
async fn told(chain: &Chain, product: &str) -> [Option<String>; 2] {
    let found = entries(chain).await;
    let of = |entry: Option<&crate::compare::Fields>| Some(entry?.get("description")?.clone());
    [of(found.l2.get(&format!("product:all:{product}"))), of(found.l1.get(&format!("product:hot:{product}")))]
}

pub async fn deferred_columns_wait_for_their_pass(chain: &mut Chain) {
    chain.execute("ALTER TABLE products REPLICA IDENTITY FULL").await;
    follow(chain, &policy(LONG)).await;
    let both = |text: &str| [Some(text.to_owned()), Some(text.to_owned())];
    let before = told(chain, "P-8").await;
    assert_eq!(before, both("a bowl"));
    chain.execute("UPDATE products SET description = 'a blue bowl' WHERE product_id IN ('P-8', 'P-9')").await;
    chain.settled().await;
    assert_eq!(told(chain, "P-8").await, before, "it waits");
    // What else changes does not wait, and takes along what its row has.
    chain.execute("UPDATE prices SET price_pence = 3 WHERE product_id = 'P-8'").await;
    chain.execute("UPDATE products SET name = 'the bowl' WHERE product_id = 'P-9'").await;
    chain.applied().await;
    let now = entries(chain).await;
    assert_eq!(now.l2["product:all:P-8"]["price_pence"], "3");
    assert_eq!(told(chain, "P-8").await, before);
    assert_eq!(told(chain, "P-9").await, both("a blue bowl"));
    assert_eq!(now.l1["product:hot:P-9"]["name"], "the bowl");

    // Whoever comes next knows nothing of what waits, but from the log. Its pass is long due.
    chain.engine.take().expect("an engine").stop().await;
    chain.setting.policy =
        std::sync::Arc::new(lockstep_schemas::policy::Policy::parse(&policy(SHORT)).expect("a policy"));
    let metrics = Metrics::default();
    chain.engine = Some(chain.setting.engine_counting(metrics.clone()));
    until("a pass", async || (dropped(&metrics) >= 2).then_some(())).await;
    until("the entries to be filled anew", async || {
        // The engine fills what it drops while somebody holds it; readers the rest.
        chain.fill("product_all", "P-8").await;
        chain.answer(&chain.stack.endpoints().gateway, "P-8").await;
        (told(chain, "P-8").await == both("a blue bowl")).then_some(())
    })
    .await;
    // The page was made of what waited; it went with it [17b].
    until("the page", async || {
        let (_, page, _) = chain.page("P-8").await;
        (page.get("description").map(String::as_str) == Some("a blue bowl")).then_some(())
    })
    .await;
    // Each once: what was sent is not sent again by the next pass.
    let sent = dropped(&metrics);
    chain.execute("UPDATE products SET description = 'a red bowl' WHERE product_id = 'P-10'").await;
    until("the next pass", async || (dropped(&metrics) > sent).then_some(())).await;
    assert_eq!(dropped(&metrics), sent + 1);
    chain.settled().await;
    tokio::time::timeout(Duration::from_secs(30), chain.restock()).await.expect("full tiers");
    assert_eq!(told(chain, "P-10").await, both("a red bowl"));
    follow(chain, DEFAULT).await;
    chain.execute("ALTER TABLE products REPLICA IDENTITY DEFAULT").await;
}
