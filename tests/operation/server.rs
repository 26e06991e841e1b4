//! A server that is not as it must be, each fault with the line that tells it and what mends it.

use crate::elsewhere::{READY_LIMIT, refused_by_check};
use crate::harness::{Lockstep, until};
use crate::shop::Shop;

/// Makes a slot of our name, has more written than the server may keep for it, and has that taken away.
const LOSES_ITS_LOG: [&str; 3] = [
    "SELECT pg_create_logical_replication_slot('goods_slot', 'pgoutput')",
    "SELECT pg_logical_emit_message(false, 'filling', repeat('x', 1 << 20)), pg_switch_wal() FROM generate_series(1, 4)",
    "CHECKPOINT",
];

/// What a role lacks, the line that tells it, and what gives it back, which is the line's remedy.
const LACKS: [[&str; 3]; 3] = [
    [
        "ALTER ROLE lockstep_ingest NOREPLICATION",
        "our user may not replicate",
        "ALTER ROLE \"lockstep_ingest\" REPLICATION",
    ],
    [
        "REVOKE INSERT ON lockstep.epoch FROM lockstep_ingest",
        "our user may not write lockstep.epoch",
        "GRANT SELECT, INSERT ON lockstep.epoch TO \"lockstep_ingest\"",
    ],
    [
        "REVOKE USAGE ON SCHEMA lockstep FROM lockstep_ingest",
        "the table lockstep.epoch is not there, or hidden from us",
        "GRANT USAGE ON SCHEMA lockstep TO \"lockstep_ingest\"",
    ],
];

/// Before ingest has run, and so before there is a slot.
pub fn faults_are_told(shop: &Shop) {
    a_bound_that_loses_slots(shop);
    let url = shop.database_url().replace("//postgres@", "//lockstep_ingest@");
    let lockstep = shop.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &url);
    for [fault, line, remedy] in LACKS {
        shop.sql(fault);
        refused_by_check(&lockstep, &format!("FAIL  privileges: {line}"), remedy);
        shop.sql(remedy);
    }
    a_clock_that_goes_wrong(shop, &lockstep);
}

fn a_bound_that_loses_slots(shop: &Shop) {
    let kept_at_most = |value: &str| {
        shop.sql(&format!("ALTER SYSTEM SET max_slot_wal_keep_size = '{value}'"));
        shop.sql("SELECT pg_reload_conf()");
        let look = || (shop.sql("SHOW max_slot_wal_keep_size") == value).then_some(());
        until("the setting to be read", READY_LIMIT, look);
    };
    let before = shop.sql("SHOW max_slot_wal_keep_size");
    kept_at_most("1MB");
    refused_by_check(
        &shop.lockstep,
        "FAIL  max_slot_wal_keep_size: max_slot_wal_keep_size is 1MB, and between two checkpoints the server writes",
        "ALTER SYSTEM SET max_slot_wal_keep_size",
    );
    for statement in LOSES_ITS_LOG {
        shop.sql(statement);
    }
    refused_by_check(
        &shop.lockstep,
        "FAIL  slot goods_slot: slot goods_slot has lost its log (wal_status = lost)",
        "SELECT pg_drop_replication_slot('goods_slot')",
    );
    shop.sql("SELECT pg_drop_replication_slot('goods_slot')");
    kept_at_most(&before);
}

/// The machine has one clock, so the database has a function in its place.
fn a_clock_that_goes_wrong(shop: &Shop, lockstep: &Lockstep) {
    shop.sql(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE SQL \
         AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''",
    );
    shop.sql("ALTER ROLE lockstep_ingest SET search_path = public, pg_catalog");
    refused_by_check(lockstep, "FAIL  clock: the database's clock is 36000", "run NTP on both");
    shop.sql("ALTER ROLE lockstep_ingest RESET search_path");
    shop.sql("DROP FUNCTION public.clock_timestamp()");
}
