//! An ingest that is stopped in the midst of the log, and woken when another has long gone on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lockstep_schemas::avro::unframe;
use lockstep_schemas::envelope::EnvelopePlan;
use lockstep_schemas::registry::SchemaRecord;

use crate::elsewhere::{READY_LIMIT, start_ingest};
use crate::harness::process::send;
use crate::harness::{Program, kafka, until};
use crate::shop::{DRAIN_LIMIT, Shop};

/// It may have to notice by a time-out that its connections are gone.
const WOKEN_LIMIT: Duration = Duration::from_secs(30);
const SUBJECT: &str = "lockstep.Goods.shelves-value";

/// The schemas that were given ids so far, in the order of their records.
fn schemas(shop: &Shop) -> Vec<SchemaRecord> {
    let values = kafka::values(&shop.endpoints().kafka, "lockstep.schemas");
    values.iter().filter_map(|value| serde_json::from_slice(value).ok()).collect()
}

/// The change of the table lies unread before the sleeper: it meets it when it is woken, and knows no id for it.
pub fn a_woken_one_gives_out_no_schema_id(shop: &Shop, sleeper: Program) -> Program {
    let backend = "SELECT active_pid FROM pg_replication_slots WHERE active";
    send(sleeper.pid(), libc::SIGSTOP);
    let known = schemas(shop).len();
    let changed = "ALTER TABLE shelves ADD COLUMN height int; INSERT INTO shelves VALUES (10, 'z', 7)";
    let committed = shop.commit(changed);
    let sent = format!("SELECT coalesce(bool_and(sent_lsn >= '{committed}'), false) FROM pg_stat_replication");
    until("the change to lie before the sleeper", READY_LIMIT, || (shop.sql(&sent) == "t").then_some(()));
    let held = shop.sql(backend);
    // What its successor would do by itself after some seconds.
    shop.sql(&format!("SELECT pg_terminate_backend({held})"));
    until("the slot to be free", READY_LIMIT, || shop.sql(backend).is_empty().then_some(()));
    let successor = start_ingest(shop);
    let given = until("a new schema", READY_LIMIT, || Some(schemas(shop)).filter(|now| now.len() > known));
    // A second change, of which the sleeper has heard nothing.
    shop.sql("ALTER TABLE shelves ADD COLUMN width int; INSERT INTO shelves VALUES (11, 'z', 7, 8)");
    let later = until("another one", READY_LIMIT, || Some(schemas(shop)).filter(|now| now.len() > given.len()));

    send(sleeper.pid(), libc::SIGCONT);
    sleeper.line("its interruption", WOKEN_LIMIT, |line| line.contains("ingest was interrupted").then_some(()));
    sleeper.line("that it stands by", WOKEN_LIMIT, |line| line.contains("standing by").then_some(()));
    let committed = shop.commit("INSERT INTO shelves VALUES (12, 'z', 7, 8)");
    let sql = format!("SELECT confirmed_flush_lsn >= '{committed}' FROM pg_replication_slots");
    until("the log to go on", READY_LIMIT, || (shop.sql(&sql) == "t").then_some(()));

    let now = schemas(shop);
    assert_eq!(now, later, "the sleeper gave out an id");
    let ids: BTreeSet<u32> = now.iter().map(|record| record.id).collect();
    let texts: BTreeMap<u32, &str> = now.iter().map(|record| (record.id, record.schema.as_str())).collect();
    assert!(ids.len() == texts.len() && now.iter().all(|record| texts[&record.id] == record.schema), "{now:?}");
    assert!(now.iter().filter(|record| record.subject == SUBJECT).count() >= 3, "{now:?}");
    every_row_can_be_read(shop, &texts);

    sleeper.terminate();
    assert_eq!(sleeper.wait(DRAIN_LIMIT).code, Some(0));
    successor
}

/// By the schema that its frame names.
fn every_row_can_be_read(shop: &Shop, texts: &BTreeMap<u32, &str>) {
    let mut heights = Vec::new();
    for value in kafka::values(&shop.endpoints().kafka, "lockstep.items") {
        // Control events and tombstones have no frame.
        let Some((id, body)) = unframe(&value).ok().filter(|_| value.first() == Some(&0)) else { continue };
        let text = texts.get(&id).unwrap_or_else(|| panic!("schema {id} is not there"));
        let change = EnvelopePlan::compile(text).expect("a schema of ours").decode(body).expect("a row");
        let row = change.after.as_ref().filter(|_| &*change.table == "Goods.shelves");
        if let Some(row) = row.filter(|row| matches!(row.text("shelf"), Some("10" | "11" | "12"))) {
            heights.push((row.text("height").map(str::to_owned), row.text("width").map(str::to_owned)));
        }
    }
    let seven = Some("7".to_owned());
    for expected in [(seven.clone(), None), (seven, Some("8".to_owned()))] {
        assert!(heights.contains(&expected), "{heights:?}");
    }
}
