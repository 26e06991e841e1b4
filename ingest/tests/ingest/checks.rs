//! What `lockstep check` says of a publication that leaves out what we need. Each fault has a line, and the line has a
//! remedy that mends it.

use lockstep_process::failure::FailureKind;
use lockstep_schemas::policy::Policy;
use lockstep_source::{chunk, preflight};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::relations::ALONE;
use crate::shop::Shop;

const POLICY: &str = r#"
[groups.parts]
entity_key = "id"
tables = ["public.parts", "public.parts_by_index", "public.parts_by_day", "public.parts_whole"]
"#;

const TABLES: &str = "
    CREATE TABLE parts (id int, \"Day\" date, n int, PRIMARY KEY (id, \"Day\"));
    CREATE TABLE parts_by_index (line int NOT NULL, id int NOT NULL, n int, beside int);
    CREATE UNIQUE INDEX parts_identity ON parts_by_index (line, id) INCLUDE (beside);
    ALTER TABLE parts_by_index REPLICA IDENTITY USING INDEX parts_identity;
    CREATE TABLE parts_by_day (id int, day date, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parts_of_2024 PARTITION OF parts_by_day FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE parts_whole (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
    ALTER TABLE parts_whole REPLICA IDENTITY FULL;
    CREATE PUBLICATION parts FOR TABLE parts (id, \"Day\"), parts_by_index (line, id), parts_by_day, parts_whole
        WITH (publish_via_partition_root = true)";

impl Shop {
    /// From 18 on the log may have what the database computes, and an old row that is logged whole must.
    pub async fn postgres_computes(&self) -> bool {
        self.scalar::<i32>("SELECT current_setting('server_version_num')::int").await >= 180_000
    }
}

/// What a line says, and how it goes on.
async fn line(shop: &Shop, policy: &Policy, publication: &str, what: &str) -> Result<String, String> {
    let checks = shop.checks_of(policy, publication).await;
    let found = checks.into_iter().find(|check| check.what == what).unwrap_or_else(|| panic!("no line {what}"));
    found.found.map_err(|failure| failure.to_string())
}

/// The statements that a remedy tells to run.
fn told(text: &str) -> &str {
    text.split_once("run ").unwrap_or_else(|| panic!("nothing to run: {text}")).1
}

pub async fn a_publication_has_whole_identities(shop: &Shop) {
    let _alone = ALONE.lock().await;
    let policy = Policy::parse(POLICY).expect("a policy");
    shop.execute(TABLES).await;
    let line = async || line(shop, &policy, "parts", "replica identities in publication parts").await;
    if shop.postgres_computes().await {
        let said = line().await.expect_err("a generated column that is left out");
        assert!(said.contains("leaves out a generated column of public.parts_whole"), "{said}");
        shop.execute(told(&said)).await;
    }
    assert_eq!(line().await.as_deref(), Ok("whole"), "neither `n` nor what an index includes is missing");
    let faults = [
        ("parts (id, n)", "leaves out column Day of public.parts, a part of its replica identity"),
        ("parts_by_index (id, n, beside)", "leaves out column line of public.parts_by_index, a part"),
        ("parts_by_day (id, n)", "leaves out column day of public.parts_by_day, a part"),
        ("parts_whole (id, n)", "has a column list for public.parts_whole, whose replica identity is FULL"),
    ];
    for (fault, says) in faults {
        let table = fault.split(' ').next().expect("a name");
        shop.execute(&format!("ALTER PUBLICATION parts DROP TABLE {table}; ALTER PUBLICATION parts ADD TABLE {fault}"))
            .await;
        let said = line().await.expect_err(fault);
        assert!(said.contains(says), "{said}");
        shop.execute(told(&said)).await;
        assert_eq!(line().await.as_deref(), Ok("whole"), "after {said}");
        // The server agrees.
        shop.execute(&format!("UPDATE {table} SET n = 1; DELETE FROM {table}")).await;
    }
    shop.execute("DROP PUBLICATION parts").await;
}

pub async fn a_signal_table_must_be_heard(shop: &Shop) {
    let _alone = ALONE.lock().await;
    let policy = Policy::parse(POLICY).expect("a policy");
    shop.execute("CREATE PUBLICATION signals").await;
    let line = async || line(shop, &policy, "signals", "signal table public.debezium_signal").await;
    let remedy = "ALTER PUBLICATION \"signals\" ADD TABLE \"public\".\"debezium_signal\"";
    for is_there in [false, true] {
        if is_there {
            shop.execute("CREATE TABLE debezium_signal (id varchar(42) PRIMARY KEY, type varchar(32))").await;
        }
        let said = line().await.expect_err("a table that is not published");
        assert!(said.contains("publication signals does not carry signal table") && told(&said) == remedy, "{said}");
    }
    shop.execute(remedy).await;
    let said = line().await.expect_err("a column that is missing");
    assert!(said.contains("signal table public.debezium_signal has no column data"), "{said}");
    shop.execute("ALTER TABLE debezium_signal ADD data varchar(2048)").await;
    assert_eq!(line().await.as_deref(), Ok("published"));
    // What the log does not carry is as good as missing.
    shop.execute("ALTER PUBLICATION signals SET TABLE debezium_signal (id, type)").await;
    assert!(line().await.is_err());
    shop.execute("DROP PUBLICATION signals; DROP TABLE debezium_signal").await;
}

pub async fn a_slot_of_somebody_else_is_refused(shop: &Shop) {
    const NAME: &str = "somebody_elses";
    let _alone = ALONE.lock().await;
    let database = shop.database().await;
    assert!(preflight::insist_on_slot(&database, NAME).await.is_ok(), "there is none yet");
    shop.execute("CREATE DATABASE other_shop").await;
    let ours = shop.database_url();
    let other = ours.replace("/shop", "/other_shop");
    for (url, made, says) in [
        (ours, format!("pg_create_physical_replication_slot('{NAME}')"), "is physical"),
        (ours, format!("pg_create_logical_replication_slot('{NAME}', 'test_decoding')"), "of plugin test_decoding"),
        (&other, format!("pg_create_logical_replication_slot('{NAME}', 'pgoutput')"), "of database other_shop"),
    ] {
        let mut connection = PgConnection::connect(url).await.expect("a connection");
        let sql = |what: &str| sqlx::raw_sql(AssertSqlSafe(format!("SELECT {what}")));
        sql(&made).execute(&mut connection).await.expect("a slot");
        let failure = preflight::insist_on_slot(&database, NAME).await.expect_err(says);
        let said = failure.to_string();
        assert!(failure.kind == FailureKind::Configuration && said.contains(says), "{said}");
        assert!(said.contains("[database] slot"), "{said}");
        let drop = format!("pg_drop_replication_slot('{NAME}')");
        sql(&drop).execute(&mut connection).await.expect("no slot");
        connection.close().await.expect("an end");
    }
    shop.execute("DROP DATABASE other_shop").await;
}

pub async fn hidden_rows_are_refused(shop: &Shop) {
    shop.execute(
        "CREATE TABLE hidden (id int PRIMARY KEY); INSERT INTO hidden VALUES (1); \
         ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; CREATE PUBLICATION hidden FOR TABLE hidden; \
         CREATE ROLE half_blind LOGIN; GRANT SELECT ON hidden TO half_blind",
    )
    .await;
    let policy = "[groups.hidden]\nentity_key = \"id\"\ntables = [\"public.hidden\"]\n";
    let policy = Policy::parse(policy).expect("a policy");
    for (role, is_blind) in [("half_blind", true), ("postgres", false)] {
        let database = shop.database_as(role).await;
        let shape = chunk::shape(&database, "hidden", "public.hidden").await.expect("an answer").expect("a table");
        let read = shape.rows_after(&database, None, 10, 1 << 20).await;
        let checks = shop.checks_by(&database, &policy, "hidden").await;
        let line = checks.into_iter().find(|check| check.what == "row-level security of the policy's tables");
        let said = line.expect("a line").found;
        if is_blind {
            let refused = read.expect_err("no row is shown");
            assert!(refused.is_forbidden() && refused.to_string().contains("row-level security"), "{refused}");
            let said = said.expect_err("hidden rows").to_string();
            assert!(said.contains("hides rows of public.hidden from our user half_blind"), "{said}");
            assert!(told(&said).starts_with("ALTER ROLE \"half_blind\" BYPASSRLS"), "{said}");
        } else {
            assert_eq!(read.expect("rows").rows.len(), 1);
            assert!(said.is_ok());
        }
    }
    shop.execute("DROP PUBLICATION hidden; DROP TABLE hidden; DROP ROLE half_blind").await;
}
