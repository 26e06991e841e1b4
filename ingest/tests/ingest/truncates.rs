//! Every form of TRUNCATE.

use std::collections::BTreeMap;

use lockstep_schemas::control::ControlKind;

use crate::log::Seen;
use crate::shop::{PARTITIONS, Shop};

/// The tables that a transaction truncated: each must be said once in every partition, at its own position.
fn truncated(seen: &[Seen]) -> Vec<(String, u32)> {
    let mut partitions: BTreeMap<(u32, String), u32> = BTreeMap::new();
    for control in seen.iter().filter_map(Seen::control).filter(|control| control.kind == ControlKind::Truncate) {
        let table = control.table.clone().expect("a table");
        *partitions.entry((control.position.ordinal, table)).or_default() += 1;
    }
    assert!(partitions.values().all(|count| *count == PARTITIONS), "{partitions:?}");
    partitions.into_keys().map(|(ordinal, table)| (table, ordinal)).collect()
}

pub async fn every_form_of_truncate(shop: &Shop) {
    shop.execute(
        "INSERT INTO emptied VALUES (1); INSERT INTO referred VALUES (1); INSERT INTO numbered (of) VALUES (1)",
    )
    .await;
    shop.execute("INSERT INTO days VALUES (1, '2024-05-05', 1), (1, '2025-05-05', 2)").await;
    let seen = shop
        .commit_all(&[
            "TRUNCATE emptied",
            "TRUNCATE ONLY emptied",
            "TRUNCATE emptied, numbered RESTART IDENTITY",
            "TRUNCATE referred CASCADE",
            "TRUNCATE emptied; INSERT INTO emptied VALUES (2); TRUNCATE emptied",
            "SAVEPOINT a; TRUNCATE emptied; ROLLBACK TO a",
            "TRUNCATE days",
        ])
        .await;
    let found: Vec<Vec<(String, u32)>> = seen.iter().map(|seen| truncated(seen)).collect();
    let expected: [&[(&str, u32)]; 7] = [
        &[("public.emptied", 1)],
        &[("public.emptied", 1)],
        &[("public.emptied", 1), ("public.numbered", 2)],
        &[("public.referred", 1), ("public.numbered", 2)],
        &[("public.emptied", 1), ("public.emptied", 3)],
        &[],
        &[("public.days", 1)],
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.iter().map(|(table, ordinal)| (table.as_str(), *ordinal)).eq(expected.iter().copied()),
            "{found:?}"
        );
    }
    // PostgreSQL logs nothing of a partition's truncate where the root is published; the next row of it tells.
    let seen = shop
        .commit_all(&[
            "INSERT INTO days VALUES (1, '2024-05-05', 1)",
            "TRUNCATE days_2024",
            "INSERT INTO days VALUES (2, '2024-05-06', 1)",
        ])
        .await;
    assert!(seen[1].is_empty());
    let news = seen[2].iter().filter_map(Seen::control).map(|control| (control.kind, control.table.as_deref()));
    let news: Vec<_> = news.collect();
    assert_eq!(news, [(ControlKind::Relation, Some("public.days")); PARTITIONS as usize]);
}
