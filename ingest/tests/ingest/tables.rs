//! What concerns several rows, or a whole table.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_schemas::change::Op;
use lockstep_schemas::control::ControlKind;
use lockstep_schemas::position::Lsn;

use crate::log::Seen;
use crate::shop::{PARTITIONS, Shop};

pub async fn a_transaction_has_one_position_and_many_ordinals(shop: &Shop) {
    let mut statements = String::new();
    for n in 0..20 {
        statements.push_str(&format!(
            "INSERT INTO products (product_id, name) VALUES ('T-{n}', 'bowl'); \
             INSERT INTO prices (product_id, price_pence) VALUES ('T-{n}', {n}); \
             INSERT INTO users (user_id, email, name) VALUES ({}, 't{n}@example.org', 't'); \
             UPDATE prices SET price_pence = 7 WHERE product_id = 'T-{n}';",
            3_000 + n
        ));
    }
    let before = shop.now().await;
    let seen = shop.commit(&statements).await;
    let positions: Vec<_> = seen.iter().map(|seen| seen.change().position).collect();
    let lsns: BTreeSet<Lsn> = positions.iter().map(|position| position.lsn).collect();
    assert_eq!(lsns.len(), 1, "one commit");
    let after = shop.now().await;
    assert!(lsns.iter().all(|lsn| (before..after).contains(lsn)), "{lsns:?}");
    // In the order of the statements, over all tables and both groups.
    assert!(positions.iter().map(|position| position.ordinal).eq(1..=80));
    let tables = ["public.products", "public.prices", "public.users", "public.prices"];
    assert!(seen.iter().map(|seen| &*seen.change().table).eq(tables.into_iter().cycle().take(80)));
    let mut of_table: BTreeMap<&str, i64> = BTreeMap::new();
    for seen in &seen {
        let count = of_table.entry(&seen.change().table).or_default();
        *count += 1;
        assert_eq!(seen.envelope()["transaction"]["data_collection_order"], *count);
    }
    let places: BTreeSet<(&str, u32)> = seen.iter().map(|seen| (seen.group.as_str(), seen.partition)).collect();
    assert!(places.len() > PARTITIONS as usize, "both groups, several partitions: {places:?}");
    // Within a partition, what is later in the transaction is later in the log.
    let mut newest: BTreeMap<(&str, u32), i64> = BTreeMap::new();
    for seen in &seen {
        let before = newest.insert((&seen.group, seen.partition), seen.offset);
        assert!(before.is_none_or(|before| before < seen.offset));
    }
}

pub async fn what_was_rolled_back_is_not_published(shop: &Shop) {
    let (rolled_back, gone) = shop
        .begin("INSERT INTO products (product_id, name) VALUES ('T-gone', 'bowl'); UPDATE products SET category = 'x'")
        .await;
    rolled_back.rollback().await.expect("rolled back");
    // Half a transaction: what was undone within it has no ordinal either.
    let seen = shop
        .commit(
            "INSERT INTO products (product_id, name) VALUES ('T-kept', 'bowl'); SAVEPOINT half; \
             INSERT INTO prices (product_id, price_pence) VALUES ('T-kept', 1); ROLLBACK TO half; \
             INSERT INTO inventory (product_id, stock) VALUES ('T-kept', 2)",
        )
        .await;
    let rows: Vec<_> = seen.iter().map(|seen| (&*seen.change().table, seen.change().position.ordinal)).collect();
    assert_eq!(rows, [("public.products", 1), ("public.inventory", 2)]);
    let log = shop.log_now().await;
    assert!(log.of(gone).is_empty());
    assert!(!log.changes().any(|seen| seen.key == Some(serde_json::json!({"product_id": "T-gone"}))));
}

/// The controls of a kind among records; each partition of the group must have one, alike. (A truncate gives the table
/// another file, which may be announced as well.)
fn check_broadcast(seen: &[Seen], kind: ControlKind, table: &str, group: &str) -> Vec<Seen> {
    let controls: Vec<Seen> =
        seen.iter().filter(|seen| seen.control().is_some_and(|control| control.kind == kind)).cloned().collect();
    let mut partitions: Vec<u32> = controls.iter().map(|seen| seen.partition).collect();
    partitions.sort_unstable();
    assert!(partitions.into_iter().eq(0..PARTITIONS), "one in each partition");
    for seen in &controls {
        let control = seen.control().expect("a control event");
        assert_eq!((control.kind, control.table.as_deref(), seen.group.as_str()), (kind, Some(table), group));
        assert_eq!((Some(control), &seen.key), (controls[0].control(), &None));
    }
    controls
}

pub async fn a_truncate_reaches_every_partition_of_its_group(shop: &Shop) {
    shop.execute("INSERT INTO products (product_id, name) VALUES ('T-sold', 'bowl')").await;
    shop.execute("INSERT INTO orders (order_id) VALUES (1)").await;
    shop.execute("INSERT INTO order_lines VALUES (1, 1, 'T-sold', 1, 9, now())").await;
    let seen = shop.commit("TRUNCATE order_lines; INSERT INTO order_lines VALUES (1, 2, 'T-sold', 1, 9, now())").await;
    let controls = check_broadcast(&seen, ControlKind::Truncate, "public.order_lines", "sales");
    let [row] = &seen.iter().filter(|seen| seen.control().is_none()).collect::<Vec<_>>()[..] else { panic!("one row") };
    assert_eq!(row.change().op, Op::Insert);
    let position = controls[0].position().expect("a position");
    assert_eq!((position.lsn, position.ordinal), (row.change().position.lsn, 1), "before the row, in its transaction");
    assert!(controls.iter().any(|control| control.partition == row.partition && control.offset < row.offset));
}

pub async fn a_new_column_is_a_new_schema(shop: &Shop) {
    shop.execute("INSERT INTO users (user_id, email, name) VALUES (4000, 'c@example.org', 'c')").await;
    let narrow = shop.commit("INSERT INTO preferences VALUES (4000, 'colour', 'red')").await;
    let [narrow] = &narrow[..] else { panic!("one record: {narrow:?}") };
    let seen = shop
        .commit(
            "ALTER TABLE preferences ADD COLUMN weight integer; \
             INSERT INTO preferences VALUES (4000, 'size', 'large', 3)",
        )
        .await;
    let controls = check_broadcast(&seen, ControlKind::Relation, "public.preferences", "customers");
    let [wide] = &seen.iter().filter(|seen| seen.control().is_none()).collect::<Vec<_>>()[..] else {
        panic!("one row")
    };
    assert!(wide.schema > narrow.schema, "{:?}, {:?}", narrow.schema, wide.schema);
    let before = controls.iter().find(|control| control.partition == wide.partition).expect("a control event");
    let (event, row) = (before.position().expect("a position"), wide.change().position);
    assert_eq!(event.lsn, row.lsn, "in the transaction that needs it");
    assert_ne!(event, row, "a consumer takes one position once");
    assert_eq!(event < row, before.offset < wide.offset, "where its position says");
    // The reference has read both, each by its own schema.
    assert_eq!(wide.envelope()["after"]["weight"], 3);
    assert_eq!(narrow.envelope()["after"].get("weight"), None);
    assert_eq!(wide.change().after.as_ref().expect("a row").text("weight"), Some("3"));
    // Once is enough: a later row has the same schema and brings no event.
    let [later] = &shop
        .commit("DELETE FROM preferences WHERE name = 'size'; INSERT INTO preferences VALUES (4000, 'fit', 'x')")
        .await[2..]
    else {
        panic!("a delete, a tombstone, an insert")
    };
    assert_eq!(later.schema, wide.schema);
}
