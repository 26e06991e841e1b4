//! A publication that is dropped and made again: what was written in between can't be read through it.

use crate::elsewhere::{READY_LIMIT, start_ingest, writes_go_on_and_are_followed};
use crate::harness::{Program, until};
use crate::shop::{DRAIN_LIMIT, Shop};

const SLOT: &str = "goods_slot";

/// The error names the remedy, ingest waits for it, and the remedy is one.
pub fn a_publication_made_anew_needs_a_new_slot(shop: &Shop, ingest: Program) -> Program {
    let printed = shop.lockstep.ask(&["setup", "--print-sql"]);
    let (_, publication) = printed.split_once("CREATE PUBLICATION").expect("the publication");
    let epoch = || shop.sql("SELECT max(epoch) FROM lockstep.epoch");
    let before = epoch();
    shop.sql("DROP PUBLICATION \"Goods to go\"");
    shop.sql("INSERT INTO items VALUES ('between', 'a title', NULL)");
    shop.sql(&format!("CREATE PUBLICATION{publication}"));
    let said = ["ingest was interrupted", "was made (again)", "stop the ingests, SELECT pg_drop_replication_slot("];
    ingest.line("what is to be done", READY_LIMIT, |line| said.iter().all(|part| line.contains(part)).then_some(()));
    ingest.terminate();
    let ended = ingest.wait(DRAIN_LIMIT);
    assert_eq!(ended.code, Some(0), "it waited for us: {ended}");

    let free = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND NOT active");
    until("the slot to be free", READY_LIMIT, || (shop.sql(&free) == "1").then_some(()));
    shop.sql(&format!("SELECT pg_drop_replication_slot('{SLOT}')"));
    let ingest = start_ingest(shop);
    assert_ne!(epoch(), before, "another history");
    shop.sql("DELETE FROM boxes");
    writes_go_on_and_are_followed(shop);
    ingest
}
