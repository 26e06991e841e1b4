//! Whoever is known gets through: by each of Kafka's mechanisms, with passwords from the environment and from files.

use std::fs;
use std::time::Duration;

use crate::case::PASSWORD;
use crate::harness::Lockstep;
use crate::shop::{By, Shop};
use crate::topic;

const STREAMING_LIMIT: Duration = Duration::from_secs(60);
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// All that the program said meanwhile, at its most talkative.
pub fn each_mechanism_gets_through(shop: &Shop) -> Vec<String> {
    let ways = [
        ("scram-sha-512", By::Environment, By::File),
        ("scram-sha-256", By::File, By::Environment),
        ("plain", By::File, By::File),
    ];
    let each = ways.into_iter().map(|(sasl, database, kafka)| get_through(shop, sasl, database, kafka));
    let said = each.flatten().collect();
    assert_eq!(shop.sql("SELECT array_agg(epoch ORDER BY epoch) FROM lockstep.epoch"), "{9,10}");
    said
}

fn get_through(shop: &Shop, sasl: &str, database: By, kafka: By) -> [String; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let file = shop.file(sasl, shop.authority(), database, kafka);
    fs::write(folder.path().join("lockstep.toml"), file).expect("a written file");
    let lockstep = shop.lockstep().within(folder.path()).set("LOCKSTEP_LOG", "trace");
    let lockstep = with_password(lockstep, "LOCKSTEP_DATABASE_PASSWORD", database);
    let lockstep = with_password(lockstep, "LOCKSTEP_KAFKA_PASSWORD", kafka);

    let ingest = lockstep.start(&["run", "--role", "ingest"]);
    ingest.line("streaming", STREAMING_LIMIT, |line| line.contains("streaming").then_some(()));
    shop.sql(&format!("INSERT INTO products (product_id, name) VALUES ('{sasl}', 'sent by {sasl}')"));
    topic::wait_for(&shop.endpoints().kafka, "lockstep.catalogue", &format!("sent by {sasl}"), ARRIVAL_LIMIT);
    let checked = lockstep.run(&["check"]);
    assert_eq!(checked.code, Some(0), "{sasl}: {}", checked.stdout);
    assert!(checked.stdout.contains("ok    topic lockstep.catalogue: 1 partitions"), "{}", checked.stdout);
    ingest.terminate();
    let ended = ingest.wait(DRAIN_LIMIT);
    assert_eq!(ended.code, Some(0), "{sasl}: {ended}");
    [checked.to_string(), ended.to_string()]
}

fn with_password(lockstep: Lockstep, variable: &str, by: By) -> Lockstep {
    match by {
        By::Environment => lockstep.set(variable, PASSWORD),
        By::File => lockstep,
    }
}
