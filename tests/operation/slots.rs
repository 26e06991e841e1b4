//! A slot of our name that is somebody else's.

use crate::case::CONFIGURED_WRONGLY;
use crate::elsewhere::{READY_LIMIT, refused_by_check};
use crate::shop::Shop;

/// Told by `check`, and ingest ends, since no attempt will do better.
pub fn none_but_ours_is_read(shop: &Shop) {
    let ours = shop.database_url();
    let other = ours.replace("/shop", "/other_shop");
    assert_ne!(ours, other);
    shop.sql("CREATE DATABASE other_shop");
    let remedy = "name another slot by [database] slot; or, if nobody needs this one, \
                  run SELECT pg_drop_replication_slot('goods_slot')";
    for (url, made, says) in [
        (ours, "SELECT pg_create_physical_replication_slot('goods_slot')", "slot goods_slot is physical"),
        (
            ours,
            "SELECT pg_create_logical_replication_slot('goods_slot', 'test_decoding')",
            "slot goods_slot is of plugin test_decoding, not of pgoutput",
        ),
        (
            &other,
            "SELECT pg_create_logical_replication_slot('goods_slot', 'pgoutput')",
            "slot goods_slot is of database other_shop, not of ours",
        ),
    ] {
        shop.sql_at(url, made);
        refused_by_check(&shop.lockstep, &format!("FAIL  slot goods_slot: {says}"), remedy);
        let ended = shop.lockstep.start(&["run", "--role", "ingest"]).wait(READY_LIMIT);
        assert_eq!(ended.code, Some(CONFIGURED_WRONGLY), "{ended}");
        assert!(ended.stderr.contains(says) && ended.stderr.contains(remedy), "{ended}");
        shop.sql_at(url, "SELECT pg_drop_replication_slot('goods_slot')");
    }
    shop.sql("DROP DATABASE other_shop");
}
