//! Ingest that was away: what it says while it is behind, and what it makes of a broker that takes less than before.

use lockstep_schemas::topics;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use crate::shop::Shop;

/// Much less than a topic takes where nobody says otherwise.
const RECORD_BYTES: usize = 100_000;

pub async fn what_is_behind_does_not_look_young(shop: &Shop) {
    shop.execute("INSERT INTO products (product_id, name) VALUES ('A-1', 'bowl')").await;
    shop.execute("DROP PUBLICATION lockstep").await;
    shop.start().await.stop().await;
    let published =
        "SELECT string_agg(a, ' ' ORDER BY a) FROM pg_publication_tables, unnest(attnames) a WHERE tablename = 'users'";
    let email = shop.scalar::<String>(published).await;
    assert!(email.contains("name") && !email.contains("email"), "what no view needs is published: {email}");
    takes_at_most(shop, RECORD_BYTES).await;

    // Much that nobody publishes, then a change, then more: the server reads all of it again before it says so.
    let filler = "SELECT repeat(md5(n::text), 20) AS x FROM generate_series(1, 60000) n";
    shop.execute(&format!("CREATE TABLE unpublished AS {filler}")).await;
    let name = long(RECORD_BYTES * 2);
    shop.execute(&format!("UPDATE products SET name = {name} WHERE product_id = 'A-1'")).await;
    let changed_at: i64 = shop.scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint").await;
    shop.execute(&format!("INSERT INTO unpublished {filler}")).await;

    let ingest = shop.start().await;
    let log = shop.log_now().await;
    let change = log.changes().last().expect("the change").change();
    let all = shop.all_progress().await;
    let before = all.iter().filter(|progress| progress.position <= change.position);
    let young = before.filter(|progress| progress.at >= changed_at).count();
    assert_eq!(young, 0, "progress before the change said that it was complete up to a time after it: {all:?}");
    assert!(all.iter().all(|progress| progress.at > 0));
    assert!(all.iter().any(|progress| progress.position > change.position && progress.at >= changed_at));

    // Too large for the topic by now: it goes without its values, and what follows is not held up.
    let row = change.after.as_ref().expect("a row");
    assert_eq!((row.text("product_id"), row.text("name")), (Some("A-1"), None));
    takes_at_most(shop, RECORD_BYTES / 2).await;
    let name = long(RECORD_BYTES * 3 / 4);
    let seen = shop.commit(&format!("UPDATE products SET name = {name} WHERE product_id = 'A-1'")).await;
    assert_eq!(seen.last().expect("the change").change().after.as_ref().and_then(|row| row.text("name")), None);
    let seen = shop.commit("UPDATE products SET name = 'small' WHERE product_id = 'A-1'").await;
    assert_eq!(seen[0].change().after.as_ref().and_then(|row| row.text("name")), Some("small"));
    ingest.stop().await;
}

/// A name of so many bytes that nothing makes smaller, in SQL.
fn long(bytes: usize) -> String {
    format!("(SELECT string_agg(md5(n::text), '') FROM generate_series(1, {}) n)", bytes / 32)
}

async fn takes_at_most(shop: &Shop, bytes: usize) {
    let admin: AdminClient<DefaultClientContext> =
        topics::client(&shop.kafka, "test-admin").create().expect("a client");
    let (topic, bytes) = (topics::of_group(&shop.kafka, "catalogue"), bytes.to_string());
    let altered = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", &bytes);
    let altered = admin.alter_configs([&altered], &AdminOptions::new()).await.expect("an answer");
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
}
