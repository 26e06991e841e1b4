//! Tables that change while ingest runs. Each change is announced once, to the whole group; nothing stops.

use std::collections::BTreeSet;

use lockstep_schemas::change::{Cell, Row};
use lockstep_schemas::control::ControlKind;
use lockstep_schemas::position::Position;
use tokio::sync::Mutex;

use crate::log::Seen;
use crate::shop::{PARTITIONS, Shop};

/// A changed publication makes the server describe all tables again, and then ingest looks at each: where that happens in
/// the middle of a change, it is told twice. So these wait for one another.
pub static ALONE: Mutex<()> = Mutex::const_new(());

/// The announcements among a transaction's records, each in all partitions; and its rows.
fn told(seen: &[Seen]) -> (usize, Vec<&Row>) {
    let controls: Vec<_> = seen.iter().filter_map(Seen::control).collect();
    assert!(controls.iter().all(|control| control.kind == ControlKind::Relation), "{controls:?}");
    let positions: BTreeSet<Position> = controls.iter().map(|control| control.position).collect();
    assert_eq!(controls.len(), positions.len() * PARTITIONS as usize);
    let rows = seen.iter().filter(|seen| seen.control().is_none() && !seen.is_tombstone());
    (positions.len(), rows.filter_map(|seen| seen.change().after.as_ref()).collect())
}

/// Ingest publishes a list of the columns that there were.
async fn publish_all_columns(shop: &Shop, table: &str) {
    let sql = format!("ALTER PUBLICATION lockstep DROP TABLE {table}; ALTER PUBLICATION lockstep ADD TABLE {table}");
    shop.execute(&sql).await;
}

fn texts<'r>(row: &'r Row, columns: &[&str]) -> Vec<Option<&'r str>> {
    columns.iter().map(|column| row.text(column)).collect()
}

pub async fn columns_that_come_go_and_change(shop: &Shop) {
    /// What changes; the row that follows in the same transaction; its columns, and their texts.
    type Case = (&'static str, &'static str, &'static [&'static str], &'static [Option<&'static str>]);
    const CASES: [Case; 9] = [
        ("ADD COLUMN a int", "(n, a) VALUES (1, 2)", &["n", "a"], &[Some("1"), Some("2")]),
        ("ADD COLUMN b int DEFAULT 7", "(n) VALUES (1)", &["a", "b"], &[None, Some("7")]),
        ("ADD COLUMN c float8 DEFAULT random()", "(c) VALUES (0.5)", &["b", "c"], &[Some("7"), Some("0.5")]),
        ("DROP COLUMN b", "(a) VALUES (3)", &["a", "b"], &[Some("3"), None]),
        ("RENAME COLUMN a TO z", "(z) VALUES (4)", &["a", "z"], &[None, Some("4")]),
        ("ALTER n TYPE bigint", "(n) VALUES (5000000000)", &["n"], &[Some("5000000000")]),
        ("ALTER n TYPE text USING 'n' || n", "(n) VALUES ('n6')", &["n"], &[Some("n6")]),
        ("ALTER note TYPE varchar(9), ALTER z SET NOT NULL", "(z, note) VALUES (1, 'x')", &["note"], &[Some("x")]),
        ("DROP COLUMN z, ADD COLUMN z int DEFAULT 9", "(n) VALUES ('7')", &["z"], &[Some("9")]),
    ];
    let _alone = ALONE.lock().await;
    publish_all_columns(shop, "changing").await;
    shop.execute("INSERT INTO changing VALUES (1, 0, 'old')").await;
    for (at, (change, row, columns, expected)) in (1_000..).step_by(10).zip(CASES) {
        let before = if at == 1_000 { "n = 1" } else { "note = 'new'" };
        let row = row.replacen('(', "(id, ", 1).replacen("VALUES (", &format!("VALUES ({at}, "), 1);
        // Where all rows must have a value first.
        let fill = if change.contains("NOT NULL") { "UPDATE changing SET z = 1 WHERE z IS NULL;" } else { "" };
        if !fill.is_empty() {
            shop.commit(fill).await;
        }
        let statements = format!(
            "UPDATE changing SET {before} WHERE id = 1; ALTER TABLE changing {change}; INSERT INTO changing {row}"
        );
        let later = format!("INSERT INTO changing {}", row.replacen(&at.to_string(), &(at + 1).to_string(), 1));
        let [seen, later] = &shop.commit_all(&[&statements, &later]).await[..] else { panic!("two transactions") };
        let (news, rows) = told(seen);
        // Where the rows were written anew as well, the server describes the table before and behind that.
        assert!((1..=2).contains(&news), "{news} events: {change}");
        assert_eq!(rows.len(), 2, "{change}");
        assert_eq!(texts(rows[1], columns), expected, "{change}");
        let (news, rows) = told(later);
        assert_eq!((news, rows.len()), (0, 1), "once: {change}");
        assert_eq!(texts(rows[0], columns), expected, "{change}");
    }
}

/// Its publication follows it by its number, and so do we: no row of it is passed over.
pub async fn a_table_renamed_away_and_back(shop: &Shop) {
    let seen = shop
        .commit_all(&[
            "INSERT INTO renamed VALUES (1, 1)",
            "ALTER TABLE renamed RENAME TO away; INSERT INTO away VALUES (2, 2)",
            "INSERT INTO away VALUES (3, 3)",
            "ALTER TABLE away RENAME TO renamed",
            "INSERT INTO renamed VALUES (4, 4)",
        ])
        .await;
    let rows = seen.iter().flatten().filter(|seen| seen.control().is_none());
    let rows: Vec<_> =
        rows.map(|seen| (&*seen.change().table, seen.change().after.as_ref().and_then(|row| row.text("id")))).collect();
    assert_eq!(rows, ["1", "2", "3", "4"].map(|id| ("public.renamed", Some(id))));
}

pub async fn a_table_made_anew_is_another(shop: &Shop) {
    let _alone = ALONE.lock().await;
    let anew = "DROP TABLE remade; CREATE TABLE remade (id int PRIMARY KEY, n int); \
                ALTER PUBLICATION lockstep ADD TABLE remade; INSERT INTO remade VALUES (2, 2)";
    let seen = shop.commit_all(&["INSERT INTO remade VALUES (1, 1)", anew, "INSERT INTO remade VALUES (3, 3)"]).await;
    let told: Vec<_> = seen.iter().map(|seen| told(seen)).map(|(news, rows)| (news, rows.len())).collect();
    assert_eq!(told, [(0, 1), (1, 1), (0, 1)], "its rows went without a word");
}

/// What changed while it was out is in no log. It was put back before anybody looked.
pub async fn a_table_that_was_out_of_the_publication(shop: &Shop) {
    let _alone = ALONE.lock().await;
    let seen = shop.commit_all(&["INSERT INTO renamed VALUES (10, 1)"]).await;
    assert_eq!(told(&seen[0]).1.len(), 1);
    // What it writes while the table is out is passed over, although it ends when the table is back.
    shop.execute("ALTER PUBLICATION lockstep DROP TABLE renamed").await;
    let mut open = shop.pool.begin().await.expect("a transaction");
    sqlx::query("INSERT INTO renamed VALUES (11, 1)").execute(&mut *open).await.expect("a row");
    shop.execute("ALTER PUBLICATION lockstep ADD TABLE renamed").await;
    all_is_dropped_for(shop, "public.renamed", 1).await;
    open.commit().await.expect("a commit");
    all_is_dropped_for(shop, "public.renamed", 2).await;
}

async fn all_is_dropped_for(shop: &Shop, table: &str, times: usize) {
    shop.until("its group's entries to be dropped", async || {
        let log = shop.log_now().await;
        let lost = log.0.iter().filter_map(Seen::control).filter(|control| control.kind == ControlKind::Lost);
        let lost = lost.filter(|control| control.table.as_deref() == Some(table)).count();
        (lost == times * PARTITIONS as usize).then_some(())
    })
    .await;
}

/// Where the publication lists columns, those may change as any others; one that is dropped takes its table out of it, and
/// nothing in the log says so.
pub async fn columns_of_a_list_change_and_go(shop: &Shop) {
    let _alone = ALONE.lock().await;
    let listing = |columns: &str| format!("ALTER PUBLICATION lockstep ADD TABLE listed ({columns})");
    shop.execute(&format!("ALTER PUBLICATION lockstep DROP TABLE listed; {}", listing("id, n, note"))).await;
    let seen = shop
        .commit_all(&[
            "INSERT INTO listed VALUES (1, 1, 'a', 'x')",
            "ALTER TABLE listed RENAME note TO remark; INSERT INTO listed (id, n, remark) VALUES (2, 2, 'b')",
            // What is not listed is none of ours, whatever becomes of it.
            "ALTER TABLE listed DROP COLUMN aside; INSERT INTO listed (id, n, remark) VALUES (3, 3, 'c')",
            "ALTER TABLE listed ADD COLUMN later int DEFAULT 7; INSERT INTO listed (id, n, remark) VALUES (4, 4, 'd')",
        ])
        .await;
    let told: Vec<_> = seen.iter().map(|seen| told(seen)).collect();
    assert_eq!(told.iter().map(|(_, rows)| rows.len()).collect::<Vec<_>>(), [1; 4]);
    let has_news: Vec<bool> = told.iter().map(|(news, _)| *news > 0).collect();
    assert_eq!(has_news, [false, true, false, false]);
    let rows: Vec<_> =
        told.iter().map(|(_, rows)| texts(rows[0], &["id", "n", "note", "remark", "aside", "later"])).collect();
    let row = |texts: [&'static str; 4]| -> Vec<Option<&'static str>> {
        texts.into_iter().chain(["", ""]).map(|text| Some(text).filter(|text| !text.is_empty())).collect()
    };
    let expected = [["1", "1", "a", ""], ["2", "2", "", "b"], ["3", "3", "", "c"], ["4", "4", "", "d"]];
    assert_eq!(rows, expected.map(row));

    // The server refuses another type; who wants it has to take the table out, and then its group is dropped as well.
    let retyped = sqlx::raw_sql("ALTER TABLE listed ALTER n TYPE text").execute(&shop.pool).await;
    assert!(retyped.is_err_and(|error| error.to_string().contains("used by a publication")));
    shop.execute("ALTER TABLE listed DROP COLUMN n CASCADE").await;
    shop.execute("UPDATE listed SET remark = 'f' WHERE id = 1").await;
    shop.execute(&listing("id, remark")).await;
    all_is_dropped_for(shop, "public.listed", 1).await;
    let seen = shop.commit_all(&["UPDATE listed SET remark = 'g' WHERE id = 1"]).await;
    let rows = seen[0].iter().filter(|seen| seen.control().is_none());
    let rows: Vec<_> =
        rows.filter_map(|seen| seen.change().after.as_ref()).map(|row| texts(row, &["id", "n", "remark"])).collect();
    assert_eq!(rows, [[Some("1"), None, Some("g")]]);
}

/// Every row has other values, and the table has the same columns as before.
pub async fn values_that_changed_without_a_row(shop: &Shop) {
    let _alone = ALONE.lock().await;
    publish_all_columns(shop, "rewritten").await;
    let seen = shop
        .commit_all(&[
            "INSERT INTO rewritten VALUES (1, 1), (2, 2)",
            "ALTER TABLE rewritten ALTER n TYPE int USING n * 2",
            "UPDATE rewritten SET n = n + 1 WHERE id = 1",
            "UPDATE rewritten SET n = n + 1 WHERE id = 1",
            "ALTER TABLE rewritten DROP COLUMN n, ADD COLUMN n int DEFAULT 5",
            "UPDATE rewritten SET n = n + 1 WHERE id = 1",
            "UPDATE rewritten SET n = 0 WHERE id = 1; ALTER TABLE rewritten ALTER n TYPE int USING n + 40; \
             UPDATE rewritten SET n = n + 2 WHERE id = 2",
            "INSERT INTO rewritten VALUES (3, 3)",
        ])
        .await;
    let told: Vec<_> = seen.iter().map(|seen| told(seen)).map(|(news, rows)| (news, rows.len())).collect();
    assert_eq!(told, [(0, 2), (0, 0), (1, 1), (0, 1), (0, 0), (1, 1), (1, 2), (0, 1)]);
    let last = seen[6].iter().rfind(|seen| seen.control().is_none()).expect("a row");
    assert_eq!(last.change().after.as_ref().and_then(|row| row.text("n")), Some("47"));
}

/// Of a table without its group's entity key no row can be told: each of its transactions says so, and the others go on.
pub async fn an_entity_key_renamed_away_and_back(shop: &Shop) {
    let _alone = ALONE.lock().await;
    publish_all_columns(shop, "estranged").await;
    let seen = shop
        .commit_all(&[
            "INSERT INTO estranged VALUES (1, 1)",
            "ALTER TABLE estranged RENAME id TO other; INSERT INTO estranged VALUES (2, 2), (3, 3); \
             INSERT INTO saved VALUES (1000, 1)",
            "UPDATE estranged SET n = 4",
            "TRUNCATE estranged",
            "ALTER TABLE estranged RENAME other TO id; INSERT INTO estranged VALUES (5, 5)",
            "INSERT INTO estranged VALUES (6, 6)",
        ])
        .await;
    let told = |seen: &[Seen]| {
        let controls: Vec<ControlKind> = seen.iter().filter_map(Seen::control).map(|control| control.kind).collect();
        let count = |kind| controls.iter().filter(|one| **one == kind).count() / PARTITIONS as usize;
        let rows = seen.iter().filter(|seen| seen.control().is_none() && !seen.is_tombstone());
        let rows: Vec<String> = rows.map(|seen| seen.change().table.to_string()).collect();
        (count(ControlKind::Relation), count(ControlKind::Lost), count(ControlKind::Truncate), rows.join(" "))
    };
    let told: Vec<_> = seen.iter().map(|seen| told(seen)).collect();
    let estranged = "public.estranged".to_owned();
    assert_eq!(
        told,
        [
            (0, 0, 0, estranged.clone()),
            (1, 1, 0, "public.saved".to_owned()),
            (0, 1, 0, String::new()),
            // It has other storage then, too.
            (1, 0, 1, String::new()),
            (1, 0, 0, estranged.clone()),
            (0, 0, 0, estranged),
        ]
    );
}

/// A column that comes to a table which is published whole, and is called like a secret: its values stay where they are.
pub async fn a_secret_that_comes_later_stays(shop: &Shop) {
    let _alone = ALONE.lock().await;
    publish_all_columns(shop, "trusting").await;
    let seen = shop
        .commit_all(&["ALTER TABLE trusting ADD COLUMN api_key text; INSERT INTO trusting VALUES (1, 1, 'sk-planted')"])
        .await;
    let (news, rows) = told(&seen[0]);
    assert_eq!((news, rows.len(), rows[0].text("n")), (0, 1, Some("1")), "a first description is no news");
    assert_eq!(rows[0].get("api_key"), &Cell::Unknown);
    assert!(!format!("{seen:?}").contains("sk-planted"));
    // Its column list is whole again for who checks it.
    shop.execute("ALTER TABLE trusting DROP COLUMN api_key").await;
}
