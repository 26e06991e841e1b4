//! What an old row says, under each replica identity.

use lockstep_schemas::change::{Cell, Op, Row};
use lockstep_schemas::signal::Signal;
use serde_json::json;

use crate::log::Seen;
use crate::shop::Shop;

fn before(seen: &Seen) -> &Row {
    seen.change().before.as_ref().expect("an old row")
}

fn ops(seen: &[Seen]) -> Vec<Op> {
    seen.iter().filter(|seen| !seen.is_tombstone()).map(|seen| seen.change().op).collect()
}

pub async fn an_old_row_says_what_its_identity_holds(shop: &Shop) {
    let text = "0123456789".repeat(500);
    let insert = format!(
        "INSERT INTO whole VALUES (1, 10, 5, '{text}'); INSERT INTO by_index VALUES (10, 1, 5); \
         INSERT INTO keyless VALUES (1, 5), (1, 5), (NULL, 6)"
    );
    let [_, whole, moved, key, by_index, index_moved, keyless, nobody] = &shop
        .commit_all(&[
            &insert,
            "UPDATE whole SET n = 6",
            "UPDATE whole SET id = 2",
            "UPDATE whole SET line = 11",
            "UPDATE by_index SET n = 6",
            "UPDATE by_index SET id = 2; DELETE FROM by_index",
            "UPDATE keyless SET n = 7 WHERE id = 1; DELETE FROM keyless WHERE id = 1",
            "DELETE FROM keyless",
        ])
        .await[..]
    else {
        panic!("eight transactions")
    };
    // FULL: all of the old row, and the primary key as the record's key.
    let [updated] = &whole[..] else { panic!("one record") };
    assert_eq!((updated.change().op, &updated.key), (Op::Update, &Some(json!({"line": 10}))));
    assert_eq!((before(updated).text("n"), before(updated).text("note")), (Some("5"), Some(&*text)));
    // Another entity: a delete there, an insert here. The same for another key.
    for changed in [moved, key] {
        assert_eq!(ops(changed), [Op::Delete, Op::Insert]);
        assert_eq!(before(&changed[0]).text("note"), Some(&*text));
    }
    assert_ne!(
        moved[0].change().before.as_ref().and_then(|row| row.text("id")),
        moved[2].change().after.as_ref().and_then(|row| row.text("id"))
    );
    // An index: its columns only, and no old row where they stay.
    assert_eq!((ops(by_index), &by_index[0].change().before), (vec![Op::Update], &None));
    assert_eq!(ops(index_moved), [Op::Delete, Op::Insert, Op::Delete]);
    assert_eq!((before(&index_moved[0]).text("id"), before(&index_moved[0]).get("n")), (Some("1"), &Cell::Unknown));
    // No key at all: rows come, without one.
    assert_eq!(ops(keyless), [Op::Update, Op::Update, Op::Delete, Op::Delete]);
    assert!(keyless.iter().all(|seen| seen.key.is_none()));
    assert_eq!((before(&nobody[0]).get("id"), before(&nobody[0]).text("n")), (&Cell::Null, Some("6")));
}

/// A key that lies outside the row: an update that leaves it alone leaves it out of the log's new row.
pub async fn a_long_key_that_did_not_change_is_known(shop: &Shop) {
    let id: String = std::iter::repeat_with(fastrand::alphanumeric).take(2_500).collect();
    let insert = format!("INSERT INTO long_key VALUES ('{id}', 1)");
    let seen = shop.commit_all(&[&insert, "UPDATE long_key SET n = 2", "DELETE FROM long_key"]).await;
    assert_eq!((ops(&seen[0]), ops(&seen[1]), ops(&seen[2])), (vec![Op::Insert], vec![Op::Update], vec![Op::Delete]));
    let row = seen[1][0].change().after.as_ref().expect("a row");
    assert_eq!((row.text("id"), row.text("n")), (Some(&*id), Some("2")));
    assert!(seen.iter().flatten().all(|record| record.partition == seen[0][0].partition));
}

/// `INCLUDE` puts columns into the index, not into the key: neither a record's key nor an old row has them.
pub async fn a_key_has_no_included_columns(shop: &Shop) {
    const TABLES: [&str; 3] = ["including", "including_by_index", "including_whole"];
    let mut schemas = Vec::new();
    for table in TABLES {
        let line = if table == "including_by_index" { "line, " } else { "" };
        let insert = format!(
            "INSERT INTO {table} ({line}id, beside, n) \
             SELECT {} n, n * 2, 0 FROM generate_series(1, 300) AS n",
            if line.is_empty() { "" } else { "n + 1000," }
        );
        let update = format!("UPDATE {table} SET beside = 7 WHERE id = 1");
        let delete = format!("DELETE FROM {table} WHERE id = 1");
        let [inserted, updated, deleted] = &shop.commit_all(&[&insert, &update, &delete]).await[..] else {
            panic!("three transactions")
        };
        let key = Some(json!({"id": 1}));
        assert_eq!((inserted.len(), &inserted[0].key), (300, &key), "{table}");
        assert_eq!((ops(updated), &updated[0].key), (vec![Op::Update], &key), "{table}");
        assert_eq!((ops(deleted), &deleted[0].key), (vec![Op::Delete], &key), "{table}");
        let is_whole = table == "including_whole";
        assert_eq!(before(&deleted[0]).get("beside") != &Cell::Unknown, is_whole, "{table}");
        let computed = is_whole && shop.postgres_computes().await;
        assert_eq!(before(&deleted[0]).text("twice"), computed.then_some("0"), "{table}");
        schemas.push(inserted[0].schema);
    }
    let tables = TABLES.map(|table| format!("public.{table}")).to_vec();
    shop.ask(&Signal::Snapshot { id: "including".to_owned(), tables: tables.clone() }).await;
    let finished = shop.finished("including").await;
    assert_eq!((finished.rows, finished.failed), (3 * 299, Vec::new()));
    let log = shop.log_now().await;
    let mut count = 0;
    for seen in log.changes().filter(|seen| seen.change().op == Op::Read) {
        let Some(table) = tables.iter().position(|table| **table == *seen.change().table) else { continue };
        let id = seen.change().row().and_then(|row| row.text("id")).expect("an id");
        assert_eq!(seen.key, Some(json!({"id": id.parse::<i32>().expect("a number")})));
        assert_eq!(seen.schema, schemas[table], "a snapshot has the columns of the log");
        count += 1;
    }
    assert_eq!(count, 3 * 299);
}
