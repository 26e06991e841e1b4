//! A snapshot that can't go on, since somebody writes, or since rows are hidden from it.

use std::time::Duration;

use crate::case::CONFIGURED_WRONGLY;
use crate::elsewhere::refused_by_check;
use crate::harness::{Program, until};
use crate::shop::{Shop, psql};

const LIMIT: Duration = Duration::from_secs(30);
const NAME: &str = "night-report";

pub fn one_that_waits_says_for_whom(shop: &Shop) {
    shop.sql("GRANT SELECT ON items TO lockstep_ingest");
    let mut writer = psql(
        &shop.endpoints().database_url,
        "BEGIN; INSERT INTO items VALUES ('slow', 'a title', NULL); SELECT pg_sleep(600)",
    );
    writer.env("PGAPPNAME", NAME);
    let writer = Program::start(writer);
    let pid =
        format!("SELECT max(pid) FROM pg_stat_activity WHERE application_name = '{NAME}' AND backend_xid IS NOT NULL");
    let pid = until("a transaction that writes", LIMIT, || Some(shop.sql(&pid)).filter(|pid| !pid.is_empty()));

    let snapshot = shop.lockstep.start(&["snapshot", "Goods.items"]);
    let waits = format!("the snapshot waits for process {pid} of the database ({NAME}), which has been writing since ");
    let remedy = format!("pg_terminate_backend({pid})");
    snapshot.line("the one that it waits for", LIMIT, |line| {
        (line.starts_with(&waits) && line.contains(&remedy)).then_some(())
    });
    // As it was told.
    assert_eq!(shop.sql(&format!("SELECT {remedy}")), "t");
    let ended = snapshot.wait(LIMIT);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.stderr.matches("waits for").count(), 1, "once is enough: {ended}");
    assert!(ended.stdout.starts_with("snapshot ") && ended.stdout.ends_with(" rows read\n"), "{ended}");
    assert_ne!(writer.wait(LIMIT).code, Some(0));
}

/// Without a refusal it would read no row, and say that all is well.
pub fn hidden_rows_are_told(shop: &Shop) {
    shop.sql(
        "INSERT INTO boxes VALUES ('hidden'); GRANT SELECT ON boxes TO lockstep_ingest; \
              ALTER TABLE boxes ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON boxes USING (false)",
    );
    let as_ingest = shop.database_url().replace("//postgres@", "//lockstep_ingest@");
    let as_ingest = shop.lockstep.clone().set("LOCKSTEP_DATABASE_URL", &as_ingest);
    let line =
        "FAIL  row-level security of the policy's tables: row-level security hides rows of Goods.boxes from our user";
    refused_by_check(&as_ingest, line, "ALTER ROLE \"lockstep_ingest\" BYPASSRLS");

    let snapshot = || shop.lockstep.start(&["snapshot", "Goods.boxes"]).wait(LIMIT);
    let ended = snapshot();
    assert_eq!(ended.code, Some(CONFIGURED_WRONGLY), "{ended}");
    for says in ["Goods.boxes can't be snapshot", "row-level security policy for table \"boxes\"", "BYPASSRLS"] {
        assert!(ended.stderr.contains(says), "{says}: {ended}");
    }
    shop.sql("ALTER ROLE lockstep_ingest BYPASSRLS");
    let ended = snapshot();
    let rows = shop.sql("SELECT count(*) FROM boxes");
    assert!(ended.code == Some(0) && ended.stdout.contains(&format!(" {rows} rows read")), "{rows}: {ended}");
    shop.sql("ALTER ROLE lockstep_ingest NOBYPASSRLS; DROP POLICY none ON boxes; ALTER TABLE boxes DISABLE ROW LEVEL SECURITY");
}
