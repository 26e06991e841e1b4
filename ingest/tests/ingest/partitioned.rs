//! A partitioned table is published under its root: rows of its partitions come as the root's.

use lockstep_process::Failure;
use lockstep_schemas::change::{Op, Row};
use lockstep_schemas::control::ControlKind;

use crate::log::Seen;
use crate::relations::ALONE;
use crate::shop::Shop;

fn ops(seen: &[Seen]) -> Vec<Op> {
    seen.iter().filter(|seen| !seen.is_tombstone()).map(|seen| seen.change().op).collect()
}

fn after(seen: &Seen) -> &Row {
    seen.change().after.as_ref().expect("a row")
}

pub async fn rows_of_partitions_come_as_the_roots(shop: &Shop) {
    let seen = shop
        .commit_all(&[
            "INSERT INTO days VALUES (101, '2024-03-01', 1), (1, '2025-03-01', 2), (102, '2025-03-01', 3)",
            "INSERT INTO days_2025_more VALUES (103, '2025-03-01', 4)",
            "UPDATE days SET n = 5 WHERE id = 102",
            // Between partitions, by another key: the server makes it a delete there and an insert here.
            "UPDATE days SET day = '2025-03-01' WHERE id = 101",
            "DELETE FROM days WHERE id IN (101, 103)",
        ])
        .await;
    assert_eq!(ops(&seen[0]), [Op::Insert; 3]);
    assert_eq!((ops(&seen[1]), after(&seen[1][0]).text("n")), (vec![Op::Insert], Some("4")));
    assert_eq!((ops(&seen[2]), after(&seen[2][0]).text("n")), (vec![Op::Update], Some("5")));
    let (gone, come) = (&seen[3][0], &seen[3][2]);
    assert_eq!(ops(&seen[3]), [Op::Delete, Op::Insert]);
    assert_eq!((gone.partition, after(come).text("n")), (come.partition, Some("1")), "one entity, one partition");
    assert_eq!(ops(&seen[4]), [Op::Delete; 2]);
    assert!(
        seen.iter().flatten().filter(|seen| !seen.is_tombstone()).all(|seen| &*seen.change().table == "public.days")
    );
    // What is published otherwise would come under the partitions' names.
    let published = shop.policy_tables().map(lockstep_source::database::table).collect::<Vec<_>>().join(", ");
    let _alone = ALONE.lock().await;
    shop.execute(&format!("CREATE PUBLICATION by_partition FOR TABLE {published}")).await;
    let find = async |publication: &str| {
        let checks = shop.checks(publication).await;
        checks.into_iter().find(|check| check.what.contains("partitioned")).expect("a line").found
    };
    assert_eq!(find("lockstep").await.ok().as_deref(), Some("2 published under their own names"));
    let why = find("by_partition").await.expect_err("a fault");
    let remedy = "ALTER PUBLICATION \"by_partition\" SET (publish_via_partition_root = true)";
    check_failure(&why, &["public.days", remedy]);
    let checks = shop.checks("by_partition").await;
    assert!(checks.iter().any(|check| check.what == "publication by_partition" && check.found.is_ok()), "{checks:?}");
}

fn check_failure(failure: &Failure, expected: &[&str]) {
    let text = failure.to_string();
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
}

/// Attached with its columns in another order, and one that is gone; then with rows in it, and detached again.
pub async fn a_partition_may_be_laid_out_otherwise(shop: &Shop) {
    let seen = shop
        .commit_all(&[
            "INSERT INTO days VALUES (200, '2024-04-01', 1, 'before')",
            "CREATE TABLE days_2026 (gone int, note text, n int, day date NOT NULL, id int NOT NULL); \
             ALTER TABLE days_2026 DROP COLUMN gone; INSERT INTO days_2026 VALUES ('unlogged', 2, '2026-01-01', 201); \
             ALTER TABLE days ATTACH PARTITION days_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
            "INSERT INTO days VALUES (202, '2026-04-01', 3, 'attached')",
            "UPDATE days SET n = 4 WHERE id = 202; DELETE FROM days WHERE id = 202",
            "ALTER TABLE days DETACH PARTITION days_2026",
            "INSERT INTO days_2026 VALUES ('detached', 5, '2026-05-01', 203)",
            "INSERT INTO days VALUES (200, '2024-04-02', 6, 'after')",
        ])
        .await;
    let texts = |seen: &Seen| ["id", "day", "n", "note"].map(|column| after(seen).text(column).map(str::to_owned));
    let expected = ["202", "2026-04-01", "3", "attached"].map(|text| Some(text.to_owned()));
    let row = seen[2].iter().find(|seen| seen.control().is_none()).expect("a row");
    assert_eq!(texts(row), expected);
    assert_eq!(ops(&seen[3]), [Op::Update, Op::Delete]);
    assert!(seen[5].is_empty(), "a table of its own is not published");
    // It came with rows that the log has never had: entries made before that are wrong.
    let told = seen[2].iter().filter_map(Seen::control).filter(|control| control.kind == ControlKind::Relation);
    assert!(told.count() > 0, "rows came with the partition");
}

/// A new partition has an identity of its own, whatever the root's is.
pub async fn an_identity_that_a_partition_lacks_is_never_trusted(shop: &Shop) {
    let lines = |seen: &[Seen]| ops(&seen.iter().filter(|seen| seen.control().is_none()).cloned().collect::<Vec<_>>());
    let identity = async || {
        let checks = shop.checks("lockstep").await;
        checks.into_iter().find(|check| check.what == "replica identity of public.lines").expect("a line").found
    };
    assert!(identity().await.is_ok());
    let seen = shop
        .commit_all(&[
            "INSERT INTO lines VALUES (1, 7, 1)",
            "DELETE FROM lines WHERE line = 1",
            "CREATE TABLE lines_high PARTITION OF lines FOR VALUES FROM (100) TO (200)",
            "INSERT INTO lines VALUES (101, 7, 1)",
            "DELETE FROM lines WHERE line = 101",
        ])
        .await;
    assert_eq!(lines(&seen[1]), [Op::Delete]);
    assert_eq!(seen[1][0].change().before.as_ref().and_then(|row| row.text("id")), Some("7"));
    assert_eq!(lines(&seen[3]), [Op::Insert]);
    // Whose line it was is not in the log: then it may have been anybody's.
    let lost = seen[4].iter().filter_map(Seen::control).filter(|control| control.kind == ControlKind::Lost).count();
    assert!(lost > 0, "{:?}", seen[4]);
    check_failure(&identity().await.expect_err("a fault"), &["public.lines", "lines_high", "REPLICA IDENTITY"]);
    shop.execute("ALTER TABLE lines_high REPLICA IDENTITY FULL").await;
    assert!(identity().await.is_ok());
    let seen = shop.commit_all(&["INSERT INTO lines VALUES (102, 8, 1)", "DELETE FROM lines WHERE line = 102"]).await;
    assert_eq!(seen[1][0].change().before.as_ref().and_then(|row| row.text("id")), Some("8"));
}
