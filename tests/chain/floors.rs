//! What kills all entries of a partition at once.

use lockstep_schemas::topics;
use rdkafka::producer::{FutureProducer, FutureRecord};
use reqwest::StatusCode;

use crate::chain::{Chain, PRODUCTS, WAIT_MAX, product, until};
use crate::compare::entries;
use crate::heard::Since;

pub async fn a_truncate_kills_what_was_cached(chain: &mut Chain) {
    for (truncate, status) in [
        ("TRUNCATE inventory", StatusCode::OK),
        ("TRUNCATE products, prices, inventory, cart_lines, order_lines", StatusCode::NOT_FOUND),
    ] {
        for n in 0..PRODUCTS {
            until("the edge to have the page", async || chain.page(&product(n)).await.2.then_some(())).await;
        }
        let [l2, l1, customers] = chain.marks().await.map(|mark| mark.expect("a watermark"));
        let before = entries(chain).await;
        assert!(before.l2.len() >= PRODUCTS && before.l1.len() >= PRODUCTS);
        chain.execute(truncate).await;
        chain.applied().await;
        let [l2_after, l1_after, customers_after] = chain.marks().await.map(|mark| mark.expect("a watermark"));
        assert!(l2_after.floor > l2.position && l1_after.floor > l1.position, "the floor is where the table ended");
        // The customers lost their carts' lines in the second one only.
        assert_eq!(customers_after.floor > customers.floor, truncate.contains("cart_lines"));
        let after = entries(chain).await;
        let survivors = before.l2.iter().filter(|(key, entry)| after.l2.get(*key) == Some(*entry));
        assert_eq!(survivors.count(), 0, "an entry of before is still given to readers");
        // The page of each product was kept by the edge, and none was changed: the partition's own tag took them along.
        chain.settled().await;
        for n in 0..PRODUCTS {
            let (found, fields, _) = chain.page(&product(n)).await;
            assert_eq!((found, fields.get("stock")), (status, None), "{truncate}");
        }
    }
}

/// What such a record changed is not known, so nothing of before may live; and the lane goes on.
pub async fn a_record_that_cannot_be_read_kills_what_was_cached(chain: &mut Chain) {
    let [l2, l1, customers] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    let since = Since::now();
    let producer: FutureProducer = topics::producer(&chain.setting.kafka, "test").create().expect("a producer");
    for _ in 0..2 {
        let record = FutureRecord::to("lockstep.catalogue").partition(0).key("key").payload("not a record");
        producer.send(record, WAIT_MAX).await.expect("a published record");
    }
    since.hear(&["a record that can't be read is skipped", "topic=lockstep.catalogue"]).await;
    chain.execute("UPDATE prices SET price_pence = 8 WHERE product_id = 'P-14'").await;
    chain.settled().await;
    let [l2_after, l1_after, customers_after] = chain.marks().await.map(|mark| mark.expect("a watermark"));
    assert!(l2_after.floor >= l2.position && l1_after.floor >= l1.position);
    assert_eq!(customers_after.floor, customers.floor);
    let (status, fields, _) = chain.page("P-14").await;
    assert_eq!((status, fields["price_pence"].as_str()), (StatusCode::OK, "8"));
}

/// Profiles and carts that nobody asks for would lie there until their time is over.
pub async fn what_lies_below_a_floor_is_swept(chain: &mut Chain) {
    let customers = async || chain.marks().await[2].clone().expect("a watermark");
    let before = customers().await;
    chain.execute("TRUNCATE cart_lines").await;
    until("the sweep", async || (customers().await.swept > before.swept).then_some(())).await;
    let floor = customers().await.floor;
    assert!(floor > before.floor);
}
